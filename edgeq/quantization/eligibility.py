"""Which nodes the target could run in integers, and the reason for every one that it could not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs
from edgeq.graph.walk import bodies, node_name, path_to
from edgeq.ops import OpRule, Role, rule_for
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.targets import Form, KernelRow, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.graph.walk import Body
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile

MAX_PRODUCTS = 2**31 // (255 * 127)
"""Products of uint8 and int8 that an int32 accumulator holds in the worst case."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that the target can run in integers.

    Attributes:
        node: The node.
        rule: How its operator quantizes.
        row: The target's kernel.
        placement: When to use it; differs from the row's for a computed weight or on request.
    """

    node: ir.Node
    rule: OpRule
    row: KernelRow
    placement: Placement


def classify(
    model: ir.Model,
    nodes: Iterable[ir.Node],
    target: TargetProfile,
    recipe: Recipe,
    excluded: Mapping[str, str],
) -> tuple[dict[str, Candidate], dict[str, NodeDecision]]:
    """Sort nodes into candidates and, with a reason, those that stay float.

    Returns:
        Candidates by node name, and the decisions already taken. Nodes without any rule that do
        no counted computation are in neither.
    """
    owners = bodies(model)
    candidates: dict[str, Candidate] = {}
    decisions: dict[str, NodeDecision] = {}
    for node in nodes:
        name = node_name(node)
        verdict = _judge(node, owners, target, recipe, excluded)
        if isinstance(verdict, Candidate):
            candidates[name] = verdict
        elif verdict is not None:
            decisions[name] = NodeDecision(name, node.op_type, NodeForm.FLOAT, verdict)
    return candidates, decisions


def _judge(
    node: ir.Node,
    owners: dict[ir.Graph, Body],
    target: TargetProfile,
    recipe: Recipe,
    excluded: Mapping[str, str],
) -> Candidate | str | None:
    """A candidate, the reason why not, or None for a node that is none of our business."""
    rule, name = rule_for(node), node_name(node)
    if rule is None:
        return f"edgeq has no rule for {node.op_type}" if macs.is_compute(node) else None
    if recipe.excludes(name, node.op_type):
        return "excluded by the recipe"
    if name in excluded:
        return excluded[name]
    row = target.kernel(node.op_type)
    if row is None:
        return f"target {target.name} has no integer kernel for {node.op_type}"
    around = _loop_around(node, owners)
    if around:
        return f"inside the body of {around}, which runs once per iteration"
    asked = recipe.includes(name, node.op_type)
    placement = _placement(node, rule, row)
    if placement is None:
        return _not_constant(node, rule)
    if placement is Placement.COSTLY:
        if not asked:
            return f"the integer form of this {node.op_type} is slower or less accurate than float"
        placement = Placement.COMPUTE if macs.is_compute(node) else Placement.CARRY
    return _obstacle(node, rule, row) or Candidate(node, rule, row, placement)


def _loop_around(node: ir.Node, owners: dict[ir.Graph, Body]) -> str | None:
    if not isinstance(node.graph, ir.Graph):
        return "a function"
    for body in path_to(node.graph, owners):
        if body.node.op_type != "If":
            return body.node.op_type
    return None


def _not_constant(node: ir.Node, rule: OpRule) -> str:
    weights = [value for i, value in enumerate(node.inputs) if rule.role(i) is Role.WEIGHT]
    if any(value is not None and value.is_initializer() for value in weights):
        return "its weight is an input with a default value, which callers may replace"
    return "its second factor is computed, not constant"


def _placement(node: ir.Node, rule: OpRule, row: KernelRow) -> Placement | None:
    """The row's placement, or the one for a computed weight."""
    for index, value in enumerate(node.inputs):
        if rule.role(index) is Role.WEIGHT and not constants.is_constant(value):
            return row.computed_weight
    return row.placement


def _obstacle(node: ir.Node, rule: OpRule, row: KernelRow) -> str | None:
    """Why this very node does not fit the kernel; None when it does."""
    for index, value in enumerate(node.inputs):
        if value is not None and rule.role(index) is not Role.SKIP:
            reason = _input_obstacle(node, rule.role(index), value, rule, row)
            if reason:
                return reason
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


_SPECIAL = {"Gemm": _gemm, "LSTM": _lstm, "MaxPool": _max_pool}


def is_dynamic_only(candidate: Candidate) -> bool:
    """Whether the target has no static kernel for it."""
    return candidate.row.form is Form.DYNAMIC
