"""Outputs that hold probabilities beside other numbers, as detectors write them.

Boxes in pixels beside scores up to 1 drown the error of the scores: at 35 dB of the whole, those
may be at 3. The trace goes back from an output through what only moves numbers to the Concat that
puts both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from edgeq.graph import shapes
from edgeq.graph.walk import is_op, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from edgeq.types import Array

PROBABILITIES: Final = ("HardSigmoid", "Sigmoid", "Softmax")
"""What makes numbers of 0 to 1, most of them 0 where there is nothing to find."""

MOVING: Final = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""What hands all numbers on, in another order or shape."""

_CHOOSING = ("Gather", "Slice", "Split")


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of an output.

    Attributes:
        output: Name of the output.
        axis: Along which it is a slice.
        start: First index.
        stop: The index behind the last one.
        probabilities: Whether it holds such.
    """

    output: str
    axis: int
    start: int
    stop: int
    probabilities: bool

    @property
    def name(self) -> str:
        """What to call it, unlike any other output."""
        return f"{self.output}[{self.start}:{self.stop}]"

    def of(self, array: Array) -> Array:
        """Its numbers in an output."""
        return array[(slice(None),) * self.axis + (slice(self.start, self.stop),)]


@dataclass(frozen=True, slots=True)
class _Seam:
    """Where a value's parts meet: the axis, and length and kind of each."""

    axis: int
    lengths: tuple[tuple[int, bool], ...]


def parts_of(model: ir.Model) -> tuple[Part, ...]:
    """The parts of the outputs that have some; shapes must be inferred.

    Args:
        model: Not changed.
    """
    return tuple(part for output in model.graph.outputs for part in _parts(output))


def unlike_operands(node: ir.Node) -> bool:
    """Whether a Concat puts probabilities beside other numbers."""
    kinds = {_holds_probabilities(value) for value in node.inputs if value is not None}
    return is_op(node, "Concat") and len(kinds) == 2


def _parts(output: ir.Value) -> Iterator[Part]:
    seam, start = _seam(output), 0
    for kind, run in groupby(() if seam is None else seam.lengths, key=lambda each: each[1]):
        stop = start + sum(length for length, _ in run)
        if seam is not None:
            yield Part(name_of(output), seam.axis, start, stop, kind)
        start = stop


def _seam(value: ir.Value | None) -> _Seam | None:
    """The seam in a value, on its own axis; None where there is none or its place is unknown."""
    node, rank = None if value is None else value.producer(), shapes.rank(value)
    if value is None or node is None or rank is None:
        return None
    if is_op(node, "Concat"):
        axis = node.attributes.get_int("axis", 0) % rank
        if unlike_operands(node):
            return _sewn(node, axis)
        # Rows of several maps, one behind the other.
        found = {_seam(operand) for operand in node.inputs}
        seam = found.pop() if len(found) == 1 else None
        return seam if seam is not None and seam.axis != axis else None
    seam = _seam(node.inputs[0]) if is_op(node, "Identity", "Reshape", "Transpose") else None
    return None if seam is None else _carried(seam, node, value)


def _sewn(node: ir.Node, axis: int) -> _Seam | None:
    lengths = []
    for operand in node.inputs:
        shape = None if operand is None else operand.shape
        length = None if shape is None else shape[axis]
        if operand is None or not isinstance(length, int):
            return None
        lengths.append((length, _holds_probabilities(operand)))
    return _Seam(axis, tuple(lengths))


def _carried(seam: _Seam, node: ir.Node, value: ir.Value) -> _Seam | None:
    """The same seam behind a node that moves numbers; None where it is torn."""
    if is_op(node, "Transpose"):
        perm = node.attributes.get_ints("perm", [])
        return _Seam(list(perm).index(seam.axis), seam.lengths) if perm else None
    before = None if node.inputs[0] is None else node.inputs[0].shape
    upto = seam.axis + 1
    if before is None or value.shape is None:
        return None
    # What is in front of the axis, and the axis itself, stay as they are.
    alike = len(value.shape) >= upto and list(before[:upto]) == list(value.shape[:upto])
    return seam if alike else None


def _holds_probabilities(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    while node is not None and is_op(node, *MOVING, *_CHOOSING):
        value = node.inputs[0]
        node = None if value is None else value.producer()
    if node is not None and is_op(node, "Concat"):
        return all(_holds_probabilities(operand) for operand in node.inputs)
    return node is not None and is_op(node, *PROBABILITIES)
