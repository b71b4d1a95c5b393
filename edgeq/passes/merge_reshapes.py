"""Merges Reshape, Flatten, Squeeze and Unsqueeze that follow each other into one of them.

What the chain does together is told by the shapes at its ends, symbols included: a chain that ends
where it began goes away, one that only inserts or drops dimensions of 1 becomes Unsqueeze or
Squeeze, any other a Reshape whose target copies dimensions (0) and computes at most one (-1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, sole_reader, where
from edgeq.passes.symbolic import Symbols, reshape_target

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer
    from edgeq.passes.symbolic import Shape

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")

_AXES_ARE_AN_INPUT = 13
"""The opset from which Squeeze and Unsqueeze read their axes as an input."""


def merge_reshapes(model: ir.Model) -> Outcome:
    """Merge chains of nodes that only give a value another shape."""
    nodes = [n for n in walk.nodes(model) if _source(n) is not None]
    if not nodes:
        return Outcome()
    symbols, names, version = Symbols(model), rewire.Names(model), opset(model)
    return Outcome.of([_merge(node, symbols, names, version) for node in nodes])


def _source(node: ir.Node) -> ir.Value | None:
    """What a view behind another view reads by way of that."""
    if not is_op(node, *_VIEWS) or node.inputs[0] is None:
        return None
    earlier = node.inputs[0].producer()
    if earlier is None or not is_op(earlier, *_VIEWS) or earlier.graph is not node.graph:
        return None
    return earlier.inputs[0]


def _merge(node: ir.Node, symbols: Symbols, names: Names, version: int) -> Answer:
    source, output = _source(node), node.outputs[0]
    if source is None:
        return False
    before, after = symbols.shape(source), symbols.shape(output)
    if before is None or after is None or 0 in after:
        return False
    if before == after and _may_replace(output, source):
        rewire.take_place(output, source)
        _drop(node)
        return True
    if sole_reader(_middle(node)) is None:
        return False
    made = _view(node, source, (before, after), names, version)
    if made is None:
        return f"{where(node)}: more than one of its dimensions is not told"
    symbols.learn(made, after)
    rewire.take_place(output, made)
    _drop(node)
    return True


def _middle(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node!r} reads nothing")
    return value


def _drop(node: ir.Node) -> None:
    earlier = _middle(node).producer()
    rewire.remove(node)
    unread = earlier is not None and not earlier.outputs[0].uses()
    if earlier is not None and unread and not earlier.outputs[0].is_graph_output():
        rewire.remove(earlier)


def _may_replace(output: ir.Value, source: ir.Value) -> bool:
    """An output of a graph needs a node of its own behind it."""
    if not output.is_graph_output():
        return True
    producer = source.producer()
    inner = producer is not None and producer.graph is output.graph
    return inner and not source.is_graph_output()


def _view(
    node: ir.Node, source: ir.Value, ends: tuple[Shape, Shape], names: Names, version: int
) -> ir.Value | None:
    """One node in front of ``node`` that does what the two do."""
    before, after = ends
    like, base = node.outputs[0], f"{node.name}__merged"
    for op_type, axes in (("Unsqueeze", _inserted(before, after)),
                          ("Squeeze", _inserted(after, before))):  # fmt: skip
        if axes:
            if version < _AXES_ARE_AN_INPUT:
                return edits.add_node(
                    node, op_type, [source], names, base, {"axes": axes}, like=like
                )
            data = edits.constant(node, np.array(axes, np.int64), names, f"{base}_axes")
            return edits.add_node(node, op_type, [source, data], names, base, like=like)
    target = reshape_target(after, before)
    if target is None:
        target = _given_target(node)
    if target is None:
        return None
    shape = edits.constant(node, np.array(target, np.int64), names, f"{base}_shape")
    return edits.add_node(node, "Reshape", [source, shape], names, base, like=like)


def _given_target(node: ir.Node) -> list[int] | None:
    """The later Reshape's own target, if it copies nothing: then it fits whatever it reads."""
    if not is_op(node, "Reshape") or len(node.inputs) < 2:
        return None
    found = constants.array(node.inputs[1])
    if found is None or not (found != 0).all():
        return None
    return [int(size) for size in found.reshape(-1)]


def _inserted(fewer: Shape, more: Shape) -> list[int]:
    """The axes of ``more`` that are 1 and missing in ``fewer``, if that is all that differs."""
    axes, left = [], list(fewer)
    for axis, size in enumerate(more):
        if left and left[0] == size:
            left.pop(0)
        elif size == 1:
            axes.append(axis)
        else:
            return []
    return axes if not left and len(axes) == len(more) - len(fewer) else []
