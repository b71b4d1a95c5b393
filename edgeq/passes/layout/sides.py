"""Which of two orders of axes each value has, where operators tie values together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


class Sides:
    """Values in groups; within a group, it is known which are on the same side.

    The group of None is where sides have a name of their own: None itself is on side 0.
    """

    def __init__(self) -> None:
        self._parents: dict[ir.Value | None, ir.Value | None] = {}
        self._turned: dict[ir.Value | None, int] = {}

    def find(self, value: ir.Value | None) -> tuple[ir.Value | None, int]:
        """The value that stands for a group, and whether ``value`` is on the other side of it."""
        path, side = [], 0
        while value in self._parents:
            path.append(value)
            value = self._parents[value]
        for step in reversed(path):
            side ^= self._turned[step]
            self._parents[step], self._turned[step] = value, side
        return value, side

    def tie(self, one: ir.Value | None, other: ir.Value | None, apart: int) -> bool:
        """Put two values into one group, on the same side (0) or on different ones (1).

        Returns:
            Whether that is so now: False when they are tied the other way already.
        """
        (first, side), (second, turned) = self.find(one), self.find(other)
        if first is second:
            return side ^ turned == apart
        if first is None:
            first, second = second, first
        self._parents[first], self._turned[first] = second, side ^ turned ^ apart
        return True

    def would_tie(self, one: ir.Value | None, other: ir.Value | None, apart: int) -> bool:
        """What :meth:`tie` would return."""
        (first, side), (second, turned) = self.find(one), self.find(other)
        return first is not second or side ^ turned == apart

    def of(self, value: ir.Value) -> int:
        """The side of a value."""
        return self.find(value)[1]
