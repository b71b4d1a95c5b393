"""What a target profile says."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.types import QuantType

if TYPE_CHECKING:
    from collections.abc import Mapping


class Placement(enum.Enum):
    """When an operator is put into integers on a target."""

    COMPUTE = "compute"
    """The reason to quantize: put into integers wherever it can be."""
    CARRY = "carry"
    """Cheap in integers: taken along between operators that are quantized anyway."""
    MOVE = "move"
    """Moves elements; the runtime drops the Q/DQ pairs around it."""
    ABSORBED = "absorbed"
    """An activation function that the quantized range of its producer can express."""
    COSTLY = "costly"
    """Has an integer kernel that is slower or less accurate than float: on request only."""


class Form(enum.Enum):
    """How activations get their numbers."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    """Scale and zero point are computed from each input while the model runs."""


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One operator that the target executes in integers.

    Attributes:
        op_type: The operator.
        placement: When to use the kernel.
        form: STATIC, or DYNAMIC for operators with a dynamic kernel only.
        needs_quantized_output: Without a Q/DQ pair on its output the operator stays float.
        computed_weight: The placement when the second factor is computed, not constant; None
            where the kernel does not take one.
        dynamic_on_float: Prefer the dynamic form when the input is not in integers already.
        weight_ranks: Ranks of the weight that the kernel takes; empty for any.
        attributes: Values that the kernel takes, by attribute; any for attributes not listed. An
            attribute that a node leaves out has a default that the kernel takes. Of a list of
            numbers every element has to be among the values.
        source: Where the fact comes from.
    """

    op_type: str
    placement: Placement
    form: Form = Form.STATIC
    needs_quantized_output: bool = True
    computed_weight: Placement | None = None
    dynamic_on_float: bool = False
    weight_ranks: frozenset[int] = frozenset()
    attributes: Mapping[str, frozenset[str | int]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class TargetProfile:
    """What a runtime on a chip executes in integers, and what it wants.

    Attributes:
        name: As given to ``--target``.
        summary: One sentence for ``edgeq list targets``.
        kernels: The operators it executes in integers.
        activation: Integer type of activations.
        activation_symmetric: Whether activations have their zero in the middle.
        weight: Integer type of weights, always symmetric.
        reduce_range: Weights use 7 bits.
        minimum_opset: Default-domain opset that the output needs.
        session_entries: onnxruntime session configuration the target is run with.
        executable_here: Whether edgeq can run the target on this machine.
        contrib_operators: Whether its runtime has onnxruntime's own operators, those of the domain
            com.microsoft.
    """

    name: str
    summary: str
    kernels: tuple[KernelRow, ...]
    activation: QuantType = QuantType.UINT8
    activation_symmetric: bool = False
    weight: QuantType = QuantType.INT8
    reduce_range: bool = False
    minimum_opset: int = 13
    session_entries: Mapping[str, str] = field(default_factory=dict)
    executable_here: bool = True
    contrib_operators: bool = False

    def kernel(self, op_type: str) -> KernelRow | None:
        """The row of an operator; None where the target has no integer kernel."""
        for row in self.kernels:
            if row.op_type == op_type:
                return row
        return None
