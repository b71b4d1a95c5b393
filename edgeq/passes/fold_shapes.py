"""Replaces arithmetic on shapes by its result, wherever the dimensions it uses are known.

Small integer vectors are followed element by element: in a tensor [batch, 3, H, W] the number of
channels is known though the batch is not. What is known as a whole becomes a constant; a Reshape
target with one unknown element becomes a constant with -1 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, shapes, walk
from edgeq.graph.walk import is_op, name_of
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.passes.outcome import Answer

Elements: TypeAlias = "tuple[int | None, ...]"
"""Elements of a scalar or vector of integers; None where one differs from run to run."""

_LONGEST = 64
"""Vectors longer than that are no shapes."""

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)


def fold_shapes(model: ir.Model) -> Outcome:
    """Replace known shape arithmetic by constants."""
    if not any(is_op(n, "Shape", "Size") for n in walk.nodes(model)):
        return Outcome()
    known: dict[ir.Value, Elements] = {}
    names = rewire.Names(model)
    answers: list[Answer] = []
    for node in walk.nodes(model):
        _evaluate(node, known)
        answers += [_replace(value, known, names) for value in node.outputs if value in known]
        if is_op(node, "Reshape"):
            answers.append(_complete(node, known, names))
    return Outcome.of(answers)


def _evaluate(node: ir.Node, known: dict[ir.Value, Elements]) -> None:
    rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
    if rule is None or not node.inputs:
        return
    sources = [None if v is None else _elements(v, known) for v in node.inputs]
    elements = rule(node, sources)
    if elements is not None and len(elements) <= _LONGEST:
        known[node.outputs[0]] = elements


def _elements(value: ir.Value, known: dict[ir.Value, Elements]) -> Elements | None:
    if value in known:
        return known[value]
    tensor = constants.tensor(value)
    if tensor is None or tensor.dtype not in _INTEGERS:
        return None
    if len(tensor.shape) > 1 or tensor.size > _LONGEST:
        return None
    return tuple(int(i) for i in tensor.numpy().reshape(-1))


def dims(value: ir.Value | None) -> Elements | None:
    """The known dimensions of a value; None for those that are symbolic."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) and d >= 0 else None for d in value.shape)


def _shape(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    del sources
    found = dims(node.inputs[0])
    start, end = (node.attributes.get(n) for n in ("start", "end"))
    if found is None:
        return None
    first = start.as_int() if start is not None else 0
    last = end.as_int() if end is not None else len(found)
    return found[_clamp(first, len(found)) : _clamp(last, len(found))]


def _clamp(index: int, length: int) -> int:
    return min(max(index + length if index < 0 else index, 0), length)


def _size(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    del sources
    found = dims(node.inputs[0])
    if found is None or None in found:
        return None
    return (int(np.prod([d for d in found if d is not None], dtype=np.int64)),)


def _gather(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    data, indices = sources[:2]
    if data is None or indices is None or shapes.rank(node.inputs[0]) == 0:
        return None
    if not all(i is not None and -len(data) <= i < len(data) for i in indices):
        return None
    return tuple(data[i] for i in indices if i is not None)


def _slice(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    data = sources[0]
    starts, ends = ints(node, 1, "starts"), ints(node, 2, "ends")
    steps = ints(node, 4, "steps") if len(node.inputs) > 4 else (1,)
    if data is None or not (starts and ends and steps) or len(starts) != 1:
        return None
    return data[starts[0] : ends[0] : steps[0]] if steps[0] > 0 else None


def _concat(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    if any(shapes.rank(v) != 1 for v in node.inputs):
        return None
    parts = [p for p in sources if p is not None]
    return sum(parts, ()) if len(parts) == len(sources) else None


def _same(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
    """Ops that keep the elements as long as the result is a scalar or vector."""
    if shapes.rank(node.outputs[0]) not in (0, 1):
        return None
    if is_op(node, "Cast") and node.outputs[0].dtype not in _INTEGERS:
        return None
    return sources[0]


def _elementwise(compute: Callable[[int, int], int]) -> Callable[..., Elements | None]:
    def rule(node: ir.Node, sources: Sequence[Elements | None]) -> Elements | None:
        if len(sources) != 2 or shapes.rank(node.outputs[0]) not in (0, 1):
            return None
        left, right = sources
        if left is None or right is None:
            return None
        length = max(len(left), len(right))
        if {len(left), len(right)} - {1, length}:
            return None
        wide = [s * length if len(s) == 1 else s for s in (left, right)]
        pairs = zip(*wide, strict=True)
        return tuple(None if a is None or b is None else compute(a, b) for a, b in pairs)

    return rule


def _divide(a: int, b: int) -> int:
    """Integer division as ONNX means it: towards zero."""
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_RULES: dict[str, Callable[[ir.Node, Sequence[Elements | None]], Elements | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Identity": _same,
    "Cast": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
}


def _replace(value: ir.Value, known: dict[ir.Value, Elements], names: rewire.Names) -> Answer:
    """Let readers of a fully known value read a constant."""
    elements, rank = known[value], shapes.rank(value)
    node = value.producer()
    if None in elements or rank not in (0, 1) or value.dtype not in _INTEGERS or node is None:
        return False
    if value.dtype is None or (rank == 0 and len(elements) != 1):
        return False
    if not value.uses() and (not value.is_graph_output() or is_op(node, "Identity")):
        return False
    data = np.array(elements, value.dtype.numpy()).reshape(() if rank == 0 else (-1,))
    name = name_of(value)
    if value.is_graph_output():
        constant = edits.constant(node, data, names, f"{name}__constant")
    else:
        value.name = names.value(f"{name}__computed")
        constant = rewire.add_initializer(edits.graph_of(node), name, data)
    rewire.take_place(value, constant)
    known[constant] = elements
    return True


def _complete(node: ir.Node, known: dict[ir.Value, Elements], names: rewire.Names) -> Answer:
    """Give a Reshape a constant target where one element is unknown or merely copied."""
    target = node.inputs[1] if len(node.inputs) > 1 else None
    if target is None or constants.is_constant(target):
        return False
    wanted = known.get(target)
    if wanted is None or node.attributes.get_int("allowzero", 0) == 1:
        return False
    if sum(d is None for d in wanted) != 1 or any(d is not None and d <= 0 for d in wanted):
        return False
    data = np.array([-1 if d is None else d for d in wanted], np.int64)
    new = edits.constant(node, data, names, f"{node.name}__target")
    node.replace_input_with(1, new)
    return True
