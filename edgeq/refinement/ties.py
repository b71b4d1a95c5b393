"""Factors that channels of values carry, and how they are tied to each other.

Every channel of a value may carry a factor: the value then holds its numbers divided by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

BoolArray: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.passes.layer import Layer
    from edgeq.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Which factor each channel of a value carries.

    Attributes:
        axes: The axes that channels are spread over, negative.
        slots: Numbers of the factors, shaped like those axes.
    """

    axes: tuple[int, ...]
    slots: IntArray

    def spread(self, per_slot: FloatArray) -> FloatArray:
        """One number a slot, shaped to broadcast against the value."""
        ndim = -min(self.axes)
        order = sorted(range(len(self.axes)), key=lambda i: self.axes[i])
        shape = [1] * ndim
        for axis, size in zip(self.axes, self.slots.shape, strict=True):
            shape[axis] = size
        return per_slot[self.slots].transpose(order).reshape(shape)


class Factors:
    """Numbered factors: new ones, ones that have to be equal, and ones that have to be 1."""

    def __init__(self) -> None:
        self._parents = np.zeros(0, np.int64)
        self._frozen: list[IntArray] = []

    def fresh(self, count: int) -> IntArray:
        """New factors, tied to nothing."""
        first = self._parents.size
        made = np.arange(first, first + count)
        self._parents = np.concatenate([self._parents, made])
        return made

    def tie(self, left: IntArray, right: IntArray) -> None:
        """Let factors be equal, one by one."""
        for one, other in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            a, b = self._root(one), self._root(other)
            self._parents[max(a, b)] = min(a, b)

    def freeze(self, slots: IntArray) -> None:
        """Let factors be 1."""
        self._frozen.append(slots.ravel())

    def roots(self) -> IntArray:
        """The factor that stands for each, int64 [slots]."""
        roots = self._parents
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]
        return roots

    def frozen(self) -> BoolArray:
        """Whether each has to be 1, bool [slots]."""
        roots = self.roots()
        held = np.zeros(roots.size, bool)
        for slots in self._frozen:
            held[roots[slots]] = True
        return held[roots]

    def _root(self, slot: int) -> int:
        while (parent := int(self._parents[slot])) != slot:
            self._parents[slot] = self._parents[parent]
            slot = parent
        return slot


@dataclass(frozen=True, slots=True, eq=False)
class LayerTie:
    """A layer that takes factors up.

    Attributes:
        layer: The layer.
        inner: Factors of its input's channels, int64 [in channels]; None when it has none.
        outer: Factors of its output's channels.
    """

    layer: Layer
    inner: IntArray | None
    outer: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class ConstantTie:
    """A constant that takes factors up.

    Attributes:
        node: The node that reads it.
        index: As which input.
        inner: What the varying input carries; None for nothing.
        outer: What the output carries.
        divides: Whether the node divides by it.
    """

    node: ir.Node
    index: int
    inner: Place | None
    outer: Place
    divides: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A use of a value that wants the value as it was."""

    value: ir.Value
    node: ir.Node
    index: int


@dataclass(slots=True)
class Ties:
    """All that one walk found.

    Attributes:
        factors: The factors and how they are tied.
        places: What each value carries.
        layers: Layers that take factors up.
        constants: Constants that do.
        clips: Clip nodes between factors, by what they carry.
        refusals: Uses that want a value as it was.
    """

    factors: Factors = field(default_factory=Factors)
    places: dict[ir.Value, Place] = field(default_factory=dict)
    layers: list[LayerTie] = field(default_factory=list)
    constants: list[ConstantTie] = field(default_factory=list)
    clips: list[tuple[ir.Node, Place]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def place(self, value: ir.Value | None) -> Place | None:
        """What a value carries; None where it has no channels that are known."""
        return None if value is None else self.places.get(value)

    def refuse(self, node: ir.Node) -> None:
        """Let everything that the node reads keep its numbers."""
        for index in range(len(node.inputs)):
            self.refuse_input(node, index)

    def refuse_input(self, node: ir.Node, index: int) -> None:
        """Let one thing that the node reads keep its numbers."""
        value = node.inputs[index]
        place = self.place(value)
        if value is not None and place is not None:
            self.refusals.append(Refusal(value, node, index))
            self.factors.freeze(place.slots)
