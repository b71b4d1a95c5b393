"""Makes a Transpose and a Reshape of an axis that is taken apart and concatenated again.

Parts of one element each, their axis dropped, side by side along another axis: that is the axis
moved in front of the other one, and both seen as one. Exporters of bidirectional recurrent
networks write it that way (tf2onnx).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import cuts, edits
from edgeq.passes.cuts import Range
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, produced_by, sole_reader
from edgeq.passes.symbolic import Symbols

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer
    from edgeq.passes.symbolic import Shape


@dataclass(frozen=True, slots=True)
class _Part:
    """Element ``index`` of an axis of ``data``, without that axis."""

    data: ir.Value
    axis: int
    index: int


def merge_unstacked(model: ir.Model) -> Outcome:
    """Concatenate the elements of an axis without taking them apart."""
    found = [n for n in walk.nodes(model) if is_op(n, "Concat") and len(n.inputs) > 1]
    found = [n for n in found if all(produced_by(v, "Squeeze", "Gather") for v in n.inputs)]
    if not found:
        return Outcome()
    symbols, names = Symbols(model), rewire.Names(model)
    return Outcome.of([_merge(node, symbols, names) for node in found])


def _merge(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    parts = [_part(value, symbols) for value in node.inputs]
    first = parts[0]
    shape = None if first is None else symbols.shape(first.data)
    if first is None or shape is None or shape[first.axis] != len(parts):
        return False
    if parts != [_Part(first.data, first.axis, index) for index in range(len(parts))]:
        return False
    beside = node.attributes.get_int("axis", 1) % (len(shape) - 1)
    rest = [axis for axis in range(len(shape)) if axis != first.axis]
    order = [*rest[:beside], first.axis, *rest[beside:]]
    target = _target(shape, order, beside)
    if target is None:
        return False
    value, output = first.data, node.outputs[0]
    if order != sorted(order):
        base = f"{node.name}__moved"
        value = edits.add_node(node, "Transpose", [value], names, base, {"perm": order})
        value.type = output.type
    wanted = edits.constant(node, np.array(target), names, f"{node.name}__shape")
    base = f"{node.name}__merged"
    new = edits.add_node(node, "Reshape", [value, wanted], names, base, like=output)
    rewire.take_place(output, new)
    rewire.remove(node)
    return True


def _target(shape: Shape, order: list[int], beside: int) -> list[int] | None:
    """What a Reshape reads that merges the axis with the one behind it."""
    sizes = [shape[axis] for axis in order]
    known = [size if isinstance(size, int) else -1 for size in sizes]
    merged = -1 if known[beside + 1] < 0 else known[beside] * known[beside + 1]
    target = [*[0] * beside, merged, *known[beside + 2 :]]
    return target if target.count(-1) < 2 and 0 not in known else None


def _part(value: ir.Value | None, symbols: Symbols) -> _Part | None:
    """A value that only the Concat reads, as an element of an axis."""
    node = None if value is None else value.producer()
    if value is None or node is None or sole_reader(value) is None or node.inputs[0] is None:
        return None
    return _gathered(node, symbols) if is_op(node, "Gather") else _squeezed(node, symbols)


def _gathered(node: ir.Node, symbols: Symbols) -> _Part | None:
    data, index = node.inputs[:2]
    shape, wanted = symbols.shape(data), constants.array(index)
    if data is None or shape is None or wanted is None or wanted.ndim:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    size = shape[axis]
    return _Part(data, axis, int(wanted) % size) if isinstance(size, int) and size else None


def _squeezed(node: ir.Node, symbols: Symbols) -> _Part | None:
    value = node.inputs[0]
    axes, shape = ints(node, 1, "axes"), symbols.shape(value)
    if value is None or shape is None or axes is None or len(axes) != 1:
        return None
    if not produced_by(value, "Split") and sole_reader(value) is None:
        return None
    cut, axis = cuts.read(value, symbols), axes[0] % len(shape)
    if cut is None or list(cut.ranges) != [axis]:
        return None
    start = cut.ranges[axis].start
    return _Part(cut.data, axis, start) if cut.ranges[axis] == Range(start, start + 1) else None
