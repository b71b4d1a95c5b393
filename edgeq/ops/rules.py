"""What an operator rule says."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir


class Role(enum.Enum):
    """What an input is to its operator."""

    ACTIVATION = "activation"
    WEIGHT = "weight"
    BIAS = "bias"
    SKIP = "skip"
    """Never quantized: indices, shapes, axes, regions, conditions."""


class Constraint(enum.Enum):
    """What the integer form demands of the output's numbers."""

    NONE = "none"
    SAME_AS_INPUT = "same as input"
    """The op moves or selects elements: output and first activation share their numbers."""
    FIXED = "fixed"
    """The range follows from the op's definition."""


AxisOf: TypeAlias = "Callable[[ir.Node, int], int | None]"
"""Channel axis of a weight from its node and the weight's rank; None: one scale per tensor."""

OrderOf: TypeAlias = "Callable[[ir.Node, int], tuple[int, ...]]"
"""Axes of a weight that products are added over, outermost first, from its node and rank."""


@dataclass(frozen=True, slots=True)
class OpRule:
    """How one operator of the default ONNX domain quantizes.

    Attributes:
        op_type: The operator.
        roles: Role of each input in order.
        variadic: The last role holds for all further inputs.
        since: First opset version that the rule holds for.
        weight_axis: Output-channel axis of the WEIGHT input.
        reduction: The axes of the WEIGHT input that products are added over, in the order in which
            kernels walk them; None where it is not known.
        output: What the integer form demands of the output's numbers.
        fixed_range: Range of the output where it is FIXED.
        outputs: How many leading outputs carry quantized values; -1 for all.
    """

    op_type: str
    roles: tuple[Role, ...]
    variadic: bool = False
    since: int = 1
    weight_axis: AxisOf | None = None
    reduction: OrderOf | None = None
    output: Constraint = Constraint.NONE
    fixed_range: tuple[float, float] | None = None
    outputs: int = 1

    def role(self, index: int) -> Role:
        """The role of input number ``index``."""
        if index < len(self.roles):
            return self.roles[index]
        return self.roles[-1] if self.variadic else Role.SKIP
