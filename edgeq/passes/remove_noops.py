"""Removes nodes that hand their input on unchanged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import rank, static
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import constant_operand, given, ints, opset, produced_by, where
from edgeq.passes.symbolic_shapes import FAR

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.passes.outcome import Answer

    Same = Callable[[ir.Node], "ir.Value | None"]


def remove_noops(model: ir.Model) -> Outcome:
    """Take out every node whose output equals one of its inputs."""
    version = opset(model)
    return Outcome.of([_remove(node, version) for node in walk.nodes(model)])


def _remove(node: ir.Node, version: int) -> Answer:
    same = _RULES.get(node.op_type)
    if same is None or not is_op(node, node.op_type):
        return False
    if is_op(node, "Resize") and _has_empty_scales(node):
        return f"{where(node)}: it has neither scales nor sizes"
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return False
    if is_op(node, "Dropout") and version < 7 and not node.attributes.get_int("is_test", 0):
        return f"{where(node)}: it drops at inference time as well"
    source, output = same(node), node.outputs[0]
    if source is None or not _may_replace(output, source):
        return False
    if source.type is None:
        source.type = output.type
    rewire.take_place(output, source)
    rewire.remove(node)
    return True


def _may_replace(output: ir.Value, source: ir.Value) -> bool:
    """An output of a graph needs a node of that graph behind it, and a name of its own."""
    if not output.is_graph_output():
        return True
    producer = source.producer()
    if producer is None or producer.graph is not output.graph:
        return False
    return not (source.is_graph_output() or source.is_graph_input() or source.is_initializer())


def _has_empty_scales(node: ir.Node) -> bool:
    scales = static(node.inputs[2]) if given(node, 2) else None
    return scales is not None and math.prod(scales) == 0 and not given(node, 3)


def _first(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _dropout(node: ir.Node) -> ir.Value | None:
    """Inference only: a training mode that is an input must be constant and false."""
    if given(node, 2) and constants.scalar(node.inputs[2]) != 0:
        return None
    return node.inputs[0]


def _cast(node: ir.Node) -> ir.Value | None:
    source = node.inputs[0]
    target = node.attributes.get("to")
    if source is None or source.dtype is None or target is None:
        return None
    return source if int(source.dtype) == target.as_int() else None


def _same_shape(node: ir.Node) -> ir.Value | None:
    before, after = static(node.inputs[0]), static(node.outputs[0])
    if before is None or before != after or any(d < 0 for d in before):
        return None
    return node.inputs[0]


def _reshape(node: ir.Node) -> ir.Value | None:
    """To the same shape: statically, or by copying every dimension but one."""
    target, dims = ints(node, 1, "shape"), node.inputs[0].shape if node.inputs[0] else None
    if target and dims is not None and len(dims) == len(target):
        exact = not node.attributes.get_int("allowzero", 0)
        kept = [t == d or (exact and t == 0) for t, d in zip(target, dims, strict=True)]
        moved = [t for t, k in zip(target, kept, strict=True) if not k]
        if not moved or moved == [-1]:
            return node.inputs[0]
    return _same_shape(node)


def _transpose(node: ir.Node) -> ir.Value | None:
    order = node.attributes.get_ints("perm", ())
    return node.inputs[0] if order and tuple(order) == tuple(range(len(order))) else None


def _pad(node: ir.Node) -> ir.Value | None:
    amounts = ints(node, 1, "pads")
    return node.inputs[0] if amounts is not None and not any(amounts) else None


def _slice(node: ir.Node) -> ir.Value | None:
    """Of everything: from 0 to beyond the end, in steps of 1."""
    starts, ends = ints(node, 1, "starts"), ints(node, 2, "ends")
    steps = ints(node, 4, "steps") if given(node, 4) else None
    axes = ints(node, 3, "axes") if given(node, 3) or "axes" in node.attributes else None
    source = node.inputs[0]
    if source is None or starts is None or ends is None or (given(node, 4) and steps is None):
        return None
    if given(node, 3) and axes is None:
        return None
    axes = axes if axes is not None else tuple(range(len(starts)))
    if any(starts) or any(s != 1 for s in steps or ()):
        return None
    dims = source.shape
    whole = [
        _reaches(end, None if dims is None else dims[a]) for end, a in zip(ends, axes, strict=True)
    ]
    return source if all(whole) else None


def _reaches(end: int, dim: int | ir.SymbolicDim | None) -> bool:
    return end >= FAR or (isinstance(dim, int) and 0 <= dim <= end)


def _neutral(node: ir.Node) -> ir.Value | None:
    """Arithmetic with 0 or 1 that does not broadcast x to a larger shape."""
    operand = constant_operand(node)
    if operand is None:
        return None
    neutral = 0 if node.op_type in ("Add", "Sub") else 1
    commutes = node.op_type in ("Add", "Mul")
    if not (operand.data_first or commutes) or np.any(operand.array != neutral):
        return None
    shape, known = operand.array.shape, rank(operand.data)
    if known is None:
        return operand.data if not shape else None
    dims = operand.data.shape
    if len(shape) > known or dims is None:
        return None
    behind = list(dims)[known - len(shape) :]
    return operand.data if all(c in (1, d) for c, d in zip(shape, behind, strict=True)) else None


def _twice(node: ir.Node) -> ir.Value | None:
    """What is turned round and back again."""
    inner = produced_by(node.inputs[0], node.op_type)
    return None if inner is None else inner.inputs[0]


def _split(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.outputs) == 1 else None


def _flatten(node: ir.Node) -> ir.Value | None:
    if rank(node.inputs[0]) == 2 and node.attributes.get_int("axis", 1) in (1, -1):
        return node.inputs[0]
    return _same_shape(node)


def _where(node: ir.Node) -> ir.Value | None:
    """The only side that a constant condition takes, if nothing broadcasts it."""
    condition = constants.array(node.inputs[0])
    if condition is None or not condition.size or condition.min() != condition.max():
        return None
    chosen, other = node.inputs[1:] if condition.all() else node.inputs[:0:-1]
    dims = None if chosen is None else chosen.shape
    for shape in (condition.shape, static(other)):
        if dims is None or shape is None or len(shape) > len(dims):
            return None
        behind = list(dims)[len(dims) - len(shape) :]
        if not all(c in (1, d) for c, d in zip(shape, behind, strict=True)):
            return None
    return chosen


def _expand(node: ir.Node) -> ir.Value | None:
    target = ints(node, 1, "shape")
    known = rank(node.inputs[0])
    if target is not None and known is not None and len(target) <= known and set(target) <= {1}:
        return node.inputs[0]
    return _same_shape(node)


_RULES: dict[str, Same] = {
    "Identity": _first,
    "Dropout": _dropout,
    "Cast": _cast,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Expand": _expand,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _first,
    "Sum": _first,
    "Max": _first,
    "Min": _first,
    "Mean": _first,
    "Add": _neutral,
    "Sub": _neutral,
    "Mul": _neutral,
    "Div": _neutral,
    "Resize": lambda node: None,
    "Neg": _twice,
    "Not": _twice,
    "Split": _split,
    "Where": _where,
}
