"""Whether a node fits a row of a target: dtypes, ranks, attributes, shapes, and what else it says.

One rule for all targets: what differs between them is in their rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs, shapes
from edgeq.ops import Constraint, Role
from edgeq.targets import Condition, Form, Placement

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.ops import OpRule
    from edgeq.targets import KernelRow, TargetProfile

MAX_PRODUCTS = 2**31 // (255 * 127)
"""Products of uint8 and int8 that an int32 accumulator holds in the worst case."""

DYNAMIC_SHAPES = "the target takes fixed shapes only, and its sizes are not all known"


def obstacle(node: ir.Node, rule: OpRule, row: KernelRow, target: TargetProfile) -> str | None:
    """Why this very node does not fit the kernel; None when it does."""
    found = _type_obstacle(row, target) or _shape_obstacle(node, row, target)
    if found:
        return found
    strict = row.placement is Placement.COMPUTE and not macs.is_compute(node)
    for index, value in enumerate(node.inputs):
        if value is not None and rule.role(index) is not Role.SKIP:
            reason = _input_obstacle(node, rule.role(index), value, rule, row)
            if reason:
                return reason
            if strict and value.dtype is None and rule.output is Constraint.SAME_AS_INPUT:
                return f"the type of its input {value.name!r} is not known"
    return _attribute_obstacle(node, row)


def _type_obstacle(row: KernelRow, target: TargetProfile) -> str | None:
    if row.activations and target.activation not in row.activations:
        taken = " or ".join(sorted(kind.value for kind in row.activations))
        return f"its integer kernel takes {taken} activations, the target has others"
    if row.form is Form.DYNAMIC and not target.contrib_operators:
        return "its dynamic form is an operator of onnxruntime's own, which the target has not"
    return None


def _shape_obstacle(node: ir.Node, row: KernelRow, target: TargetProfile) -> str | None:
    if not target.dynamic_shapes and not all_static(node):
        return DYNAMIC_SHAPES
    data = node.inputs[0] if node.inputs else None
    rank = shapes.rank(data)
    if row.data_ranks and rank not in row.data_ranks:
        has = "an unknown number of" if rank is None else rank
        return f"its input has {has} dimensions, the integer kernel takes {_listed(row.data_ranks)}"
    for condition in sorted(row.conditions, key=lambda each: each.name):
        if not holds(condition, node):
            return f"the integer kernel takes {condition.value} only"
    return None


def _listed(numbers: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _attribute_obstacle(node: ir.Node, row: KernelRow) -> str | None:
    for name, taken in row.attributes.items():
        if not set(_attribute(node, name)) <= taken:
            return f"the integer kernel takes {name} {' or '.join(sorted(map(str, taken)))} only"
    check = _SPECIAL.get(node.op_type)
    return check(node) if check else None


def _input_obstacle(
    node: ir.Node, role: Role, value: ir.Value, rule: OpRule, row: KernelRow
) -> str | None:
    """Why this input does not fit; None when it does."""
    if value.dtype not in (None, ir.DataType.FLOAT):
        return f"its input {value.name!r} is {value.dtype.name}, not float32"
    tensor = constants.tensor(value)
    if role is Role.BIAS:
        return None if tensor is not None else "its bias is computed, not constant"
    if tensor is None:
        return None
    if role is Role.ACTIVATION:
        # A mask of -Inf, for example, has no range.
        finite = bool(np.isfinite(tensor.numpy()).all())
        return None if finite else f"its constant {value.name!r} holds NaN or Inf"
    shape = tuple(int(d) for d in tensor.shape.numpy())
    if row.weight_ranks and len(shape) not in row.weight_ranks:
        return f"its weight has {len(shape)} dimensions, the integer kernel takes other ranks"
    axis = None if rule.weight_axis is None else rule.weight_axis(node, len(shape))
    if axis is not None and math.prod(shape) > MAX_PRODUCTS * shape[axis]:
        return f"more than {MAX_PRODUCTS} products would overflow the int32 accumulator"
    return None


def _attribute(node: ir.Node, name: str) -> Sequence[object]:
    """The value of an attribute, or its elements; nothing where the node leaves it out."""
    if name not in node.attributes:
        return ()
    value = node.attributes[name].value
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def all_static(node: ir.Node) -> bool:
    """Whether every size of what the node reads and writes is known."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
    return all(constants.is_constant(v) or shapes.static(v) is not None for v in values)


def _static_image(node: ir.Node) -> bool:
    data = node.inputs[0]
    if data is None or data.shape is None or len(data.shape) < 2:
        return False
    return all(isinstance(size, int) and size > 0 for size in tuple(data.shape)[1:])


def _plain_or_depthwise(node: ir.Node) -> bool:
    weight = constants.tensor(node.inputs[1]) if len(node.inputs) > 1 else None
    one_input = weight is not None and tuple(weight.shape)[1] == 1
    return node.attributes.get_int("group", 1) == 1 or one_input


def _depthwise(node: ir.Node) -> bool:
    weight = constants.tensor(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None:
        return False
    outputs, inputs = tuple(weight.shape)[:2]
    return inputs == 1 and node.attributes.get_int("group", 1) == outputs


def holds(condition: Condition, node: ir.Node) -> bool:
    """Whether a node fulfils a condition."""
    return _HOLDS[condition](node)


def _last_axis(node: ir.Node) -> bool:
    rank = shapes.rank(node.inputs[0])
    return node.attributes.get_int("axis", -1) in (-1, None if rank is None else rank - 1)


def _even_parts(node: ir.Node) -> bool:
    tensor = constants.tensor(node.inputs[1]) if len(node.inputs) > 1 else None
    return tensor is None or len(set(tensor.numpy().tolist())) == 1


_HOLDS: dict[Condition, Callable[[ir.Node], bool]] = {
    Condition.STATIC_SHAPES: all_static,
    Condition.STATIC_IMAGE: _static_image,
    Condition.PLAIN_OR_DEPTHWISE: _plain_or_depthwise,
    Condition.DEPTHWISE: _depthwise,
    Condition.LAST_AXIS: _last_axis,
    Condition.EVEN_PARTS: _even_parts,
}


def _gemm(node: ir.Node) -> str | None:
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    bias = constants.tensor(node.inputs[2]) if len(node.inputs) > 2 else None
    if alpha != 1.0 or (bias is not None and beta != 1.0):
        return f"alpha {alpha:g} and beta {beta:g} are not folded into its weights"
    weight = constants.tensor(node.inputs[1])
    if bias is None or weight is None:
        return None
    channels = tuple(weight.shape)[0 if node.attributes.get_int("transB", 0) else 1]
    return None if tuple(bias.shape) == (channels,) else "its bias is not one number per channel"


def _lstm(node: ir.Node) -> str | None:
    if node.attributes.get_int("layout", 0) or node.attributes.get_int("input_forget", 0):
        return "DynamicQuantizeLSTM takes neither layout 1 nor coupled gates"
    peephole = node.inputs[7] if len(node.inputs) > 7 else None
    return "DynamicQuantizeLSTM with peepholes is not used" if peephole is not None else None


def _max_pool(node: ir.Node) -> str | None:
    indices = len(node.outputs) > 1 and node.outputs[1].name
    return "its indices are asked for, and the integer kernel has none" if indices else None


def _hard_sigmoid(node: ir.Node) -> str | None:
    rising = node.attributes.get_float("alpha", 0.2) > 0.0
    return None if rising else "it does not rise"


_SPECIAL = {"Gemm": _gemm, "HardSigmoid": _hard_sigmoid, "LSTM": _lstm, "MaxPool": _max_pool}
