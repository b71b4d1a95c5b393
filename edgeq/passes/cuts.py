"""Slice and Split seen as cuts: which part of which axes of a value they hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.pattern import opset
from edgeq.passes.symbolic_shapes import END, FAR, slice_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.dims import Size
    from edgeq.passes.symbolic import Symbols

_INPUTS = 10
"""The opset from which a Slice reads its bounds as inputs."""


@dataclass(frozen=True, slots=True)
class Range:
    """Every ``step``-th element from ``start`` up to ``end``; None ends where the data does."""

    start: int
    end: int | None
    step: int = 1

    def inside(self, inner: Range) -> Range:
        """``inner``, counted in this range, counted in the data."""
        ends = [self.start + inner.end * self.step] if inner.end is not None else []
        ends += [self.end] if self.end is not None else []
        start = self.start + inner.start * self.step
        return Range(start, min(ends) if ends else None, self.step * inner.step)

    def covers(self, size: Size) -> bool:
        """Whether it is all of an axis."""
        whole = self.end is None or (isinstance(size, int) and self.end >= size)
        return self.start == 0 and self.step == 1 and whole


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a value.

    Attributes:
        data: The value.
        ranges: Axis, counted from the front, -> what is kept of it.
    """

    data: ir.Value
    ranges: Mapping[int, Range]


def read(value: ir.Value, symbols: Symbols) -> Cut | None:
    """The value as a part of another one, if it is an output of a Slice or Split that is told."""
    node = value.producer()
    if node is None or not node.inputs or node.inputs[0] is None:
        return None
    if is_op(node, "Slice"):
        return _slice(node, node.inputs[0], symbols)
    return _split(node, node.inputs[0], value, symbols) if is_op(node, "Split") else None


def _slice(node: ir.Node, data: ir.Value, symbols: Symbols) -> Cut | None:
    parts, shape = slice_parts(node, symbols), symbols.shape(data)
    if parts is None or shape is None:
        return None
    ranges = {}
    for start, end, axis, step in zip(*parts, strict=True):
        found = _range(start, end, step, shape[axis])
        if found is None:
            return None
        ranges[axis] = found
    return Cut(data, ranges)


def _range(start: Size | None, end: Size | None, step: Size | None, size: Size) -> Range | None:
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(step, int)) or step < 1:
        return None
    if isinstance(size, int):
        first, last, _ = slice(start, end).indices(size)
        return Range(first, max(first, last), step)
    if start < 0 or end < 0:
        return None
    return Range(start, None if end >= FAR else max(start, end), step)


def _split(node: ir.Node, data: ir.Value, value: ir.Value, symbols: Symbols) -> Cut | None:
    shape = symbols.shape(data)
    if shape is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    start = 0
    for output in node.outputs:
        part = symbols.shape(output)
        if part is None or not isinstance(part[axis], int):
            return None
        size = part[axis]
        if output is value and isinstance(size, int):
            return Cut(data, {axis: Range(start, start + size)})
        start += size if isinstance(size, int) else 0
    return None


def write(node: ir.Node, cut: Cut, model: ir.Model, names: Names) -> ir.Value:
    """A Slice in front of ``node`` that makes a cut, shaped like the node's output."""
    axes = sorted(cut.ranges)
    starts = [cut.ranges[a].start for a in axes]
    ends = [END if cut.ranges[a].end is None else cut.ranges[a].end for a in axes]
    base, like = f"{node.name}__merged", node.outputs[0]
    if opset(model) < _INPUTS:
        attributes = {"starts": starts, "ends": [int(e or 0) for e in ends], "axes": axes}
        return edits.add_node(node, "Slice", [cut.data], names, base, attributes, like=like)
    steps = [cut.ranges[a].step for a in axes]
    wanted = [("starts", starts), ("ends", ends), ("axes", axes)]
    wanted += [("steps", steps)] if set(steps) != {1} else []
    bounds = [
        edits.constant(node, np.array(numbers, np.int64), names, f"{base}_{what}")
        for what, numbers in wanted
    ]
    return edits.add_node(node, "Slice", [cut.data, *bounds], names, base, like=like)
