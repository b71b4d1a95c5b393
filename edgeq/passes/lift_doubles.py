"""Lets islands of double precision compute in float32, where that changes next to nothing.

Only arithmetic on what was float32 is lifted. What was an integer, becomes one, is compared,
rounded, exponentiated or summed up step by step stays double, and so do numbers that float32 does
not hold: there, doubles carry exact integers, in the arithmetic of shapes, or a range of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.walk import is_op
from edgeq.passes import islands
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from edgeq.passes.islands import Island
    from edgeq.passes.outcome import Outcome

_SMOOTH: Final = frozenset(
    {"Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Div",
     "Elu", "Erf", "Expand", "Flatten", "Gather", "GlobalAveragePool", "HardSigmoid",
     "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Log",
     "LogSoftmax", "Max", "MaxPool", "Mean", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow",
     "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
     "ReduceSumSquare", "Relu", "Reshape", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus",
     "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where"}
)  # fmt: skip
"""What a double island may consist of: its result moves as little as its inputs when they round."""

_EXPONENT: Final = 3
"""Up to it, powers of usual numbers stay in the range of float32."""

_EXACT: Final = 2**24
"""Above it, not every integer is a float32 number."""

_EXACT_INTEGERS: Final = frozenset(
    {ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16}
)


def lift_doubles(model: ir.Model) -> Outcome:
    """Turn islands of doubles into float32."""
    return islands.lift(model, [ir.DataType.DOUBLE], _objection)


def _objection(island: Island) -> str | None:
    for value in island.values:
        if constants.is_constant(value) and not _fits(value):
            return f"the double value {value.name!r} holds numbers that float32 does not"
    for node in island.nodes:
        if not _is_smooth(node):
            return f"{where(node)}: it may need the precision of doubles"
    return None


def _is_smooth(node: ir.Node) -> bool:
    """Whether a node on doubles gives nearly the same on rounded ones."""
    if not is_op(node, *_SMOOTH):
        return False
    if is_op(node, "Pow"):
        exponent = constants.scalar(node.inputs[1])
        return exponent is not None and abs(exponent) <= _EXPONENT
    if not is_op(node, "Cast"):
        return True
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.dtype is None or result.dtype is None:
        return False
    entering = source.dtype.is_floating_point() or source.dtype in _EXACT_INTEGERS
    return entering and result.dtype.is_floating_point()


def _fits(value: ir.Value) -> bool:
    """Whether float32 holds a double constant: in range, and as exactly as an integer needs."""
    data = constants.array(value)
    if data is None:
        return False
    numbers = np.asarray(data, np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return True
    sizes = np.abs(finite)
    limits = np.finfo(np.float32)
    if sizes.max() > limits.max or np.any((sizes > 0) & (sizes < limits.tiny)):
        return False
    whole = finite[(finite == np.round(finite)) & (sizes > _EXACT)]
    return bool(np.array_equal(whole, whole.astype(np.float32).astype(np.float64)))
