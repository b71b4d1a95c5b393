"""How a node is rewritten that is to work in another order of axes.

A turned node reads and writes permuted tensors at the ports that it named; the functions here see
to the rest: axes, amounts per axis, constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.passes import edits
from edgeq.passes.layout import permutation
from edgeq.passes.layout.ports import resize_vectors
from edgeq.passes.layout.reshapes import squeezed, target
from edgeq.passes.pattern import given, ints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.graph.rewire import Names
    from edgeq.passes.layout.permutation import Order


@dataclass(frozen=True, slots=True)
class Turn:
    """A node that is to work in another order.

    Attributes:
        node: The node.
        order: Where each axis of the new order stood before.
        names: Where new names come from.
    """

    node: ir.Node
    order: Order
    names: Names

    def axis(self, axis: int) -> int:
        """Where an axis stands now, from 0 on."""
        return self.order.index(axis % len(self.order))

    def set_ints(self, index: int, attribute: str, numbers: Sequence[int]) -> None:
        """Write integers where the node has them: as input ``index`` or as an attribute."""
        if attribute and not given(self.node, index):
            self.node.attributes.add(ir.AttrInt64s(attribute, numbers))
            return
        old = self.node.inputs[index] if given(self.node, index) else None
        kind = np.int64 if old is None or old.dtype is None else old.dtype.numpy()
        base = f"{self.node.name}__{attribute or 'axes'}"
        edits.set_constant(self.node, index, np.array(numbers, kind), self.names, base)

    def pick(self, index: int, positions: Sequence[int]) -> None:
        """Let the vector at input ``index`` hold its elements in another sequence."""
        value = self.node.inputs[index]
        if value is None:
            return
        base, found = f"{self.node.name}__{index}", constants.array(value)
        if found is not None:
            edits.set_constant(self.node, index, found[list(positions)], self.names, base)
            return
        wanted = edits.constant(self.node, np.array(positions, np.int64), self.names, base)
        picked = edits.add_node(self.node, "Gather", [value, wanted], self.names, base, like=value)
        self.node.replace_input_with(index, picked)


def nothing(turn: Turn) -> None:
    """The node works the same in any order."""
    del turn


def operands(turn: Turn) -> None:
    """Permute constant operands."""
    axes = len(turn.order)
    for index, value in enumerate(turn.node.inputs):
        found = constants.array(value)
        if found is None or found.size == 1:
            continue
        spread = found.reshape((1,) * (axes - found.ndim) + found.shape).transpose(turn.order)
        while found.ndim < axes and spread.shape[0] == 1:
            spread = spread[0]
        base = f"{turn.node.name}__{index}"
        edits.set_constant(turn.node, index, spread, turn.names, base)


def along(default: int) -> Callable[[Turn], None]:
    """Along an axis that is an attribute; ``default`` where the operator leaves it out."""

    def turned(turn: Turn) -> None:
        axis = turn.axis(turn.node.attributes.get_int("axis", default))
        turn.node.attributes.add(ir.AttrInt64("axis", axis))

    return turned


def operands_along(default: int) -> Callable[[Turn], None]:
    """Along an axis, with operands that may be constant."""

    def turned(turn: Turn) -> None:
        operands(turn)
        along(default)(turn)

    return turned


def quantizer(turn: Turn) -> None:
    """An axis counts only where there are several scales."""
    scale = turn.node.inputs[1]
    if scale is not None and scale.shape is not None and len(scale.shape) == 1:
        along(1)(turn)


def over(turn: Turn) -> None:
    """Over axes given as input 1 or as an attribute, if at all."""
    if axes := ints(turn.node, 1, "axes"):
        turn.set_ints(1, "axes", sorted(turn.axis(axis) for axis in axes))


def cumulative(turn: Turn) -> None:
    """CumSum: a scalar, not a vector."""
    found = constants.array(turn.node.inputs[1])
    if found is not None:
        new = np.full(found.shape, turn.axis(int(found.reshape(()))), found.dtype)
        edits.set_constant(turn.node, 1, new, turn.names, f"{turn.node.name}__axis")


def slicing(turn: Turn) -> None:
    """Starts and ends stay; the axes they are for are named."""
    node = turn.node
    by_input = given(node, 1)
    axes = ints(node, 3, "axes")
    if axes is None:
        starts = node.inputs[1].shape if by_input and node.inputs[1] is not None else None
        count = starts[0] if starts is not None else len(node.attributes.get_ints("starts", ()))
        axes = tuple(range(count if isinstance(count, int) else 0))
    numbers = [turn.axis(axis) for axis in axes]
    if not by_input or given(node, 3):
        turn.set_ints(3, "axes", numbers)
        return
    source = node.inputs[1]
    kind = np.int64 if source is None or source.dtype is None else source.dtype.numpy()
    edits.set_constant(node, 3, np.array(numbers, kind), turn.names, f"{node.name}__axes")


def padding(turn: Turn) -> None:
    """Amounts in front of all axes, then behind all axes."""
    node, axes = turn.node, len(turn.order)
    if given(node, 3):
        turn.set_ints(3, "", [turn.axis(axis) for axis in ints(node, 3, "") or ()])
        return
    positions = (*turn.order, *(axes + axis for axis in turn.order))
    if given(node, 1):
        turn.pick(1, positions)
    else:
        amounts = node.attributes.get_ints("pads", ())
        node.attributes.add(ir.AttrInt64s("pads", [amounts[i] for i in positions]))


def resizing(turn: Turn) -> None:
    """Scales or sizes per axis, and twice as many numbers for a region of interest."""
    node, axes = turn.node, len(turn.order)
    if "axes" in node.attributes:
        named = node.attributes.get_ints("axes", ())
        node.attributes.add(ir.AttrInt64s("axes", [turn.axis(axis) for axis in named]))
        return
    for index in resize_vectors(node, axes) or ():
        crop = len(node.inputs) > 2 and index == 1
        behind = tuple(axes + axis for axis in turn.order) if crop else ()
        turn.pick(index, (*turn.order, *behind))
    if len(node.inputs) == 1:
        scales = node.attributes.get_floats("scales", ())
        new = permutation.permuted(scales, turn.order)
        node.attributes.add(ir.AttrFloat32s("scales", new))


def expanding(turn: Turn) -> None:
    """The target is one size an axis, the first ones left out where they are 1."""
    found = constants.array(turn.node.inputs[1])
    if found is None:
        turn.pick(1, turn.order)
        return
    sizes = [1] * (len(turn.order) - found.size) + [int(size) for size in found]
    turn.set_ints(1, "", permutation.permuted(sizes, turn.order))


def tiling(turn: Turn) -> None:
    """Repeats per axis."""
    turn.pick(1, turn.order)


def shape(turn: Turn) -> None:
    """What reads the sizes gets them in the old sequence."""
    node, base = turn.node, f"{turn.node.name}__sizes"
    found = [node.attributes.get(key) for key in ("start", "end")]
    start, end = (None if bound is None else bound.as_int() for bound in found)
    for key in ("start", "end"):
        node.attributes.pop(key, None)
    positions = np.array(permutation.inverse(turn.order)[start:end], np.int64)
    output = node.outputs[0]
    wanted = edits.constant(node, positions, turn.names, base)
    sizes = edits.add_node(
        node, "Gather", [output, wanted], turn.names, base, like=output, behind=True
    )
    rewire.take_place(output, sizes)
    if output.type is not None:
        output.shape = ir.Shape([len(turn.order)])


def squeezing(turn: Turn) -> None:
    """The axes that go stand elsewhere."""
    if ints(turn.node, 1, "axes") is not None:
        numbers = sorted(turn.axis(axis) for axis in squeezed(turn.node) or ())
        turn.set_ints(1, "axes", numbers)


def unsqueezing(turn: Turn) -> None:
    """The new axes stand elsewhere."""
    axes = ints(turn.node, 1, "axes") or ()
    turn.set_ints(1, "axes", sorted(turn.axis(axis) for axis in axes))


def reshaping(turn: Turn) -> None:
    """The target is written out: zeros in it would count axes of the input."""
    node = turn.node
    sizes = node.outputs[0].shape
    if sizes is None:
        return
    if len(sizes) == len(turn.order):
        sizes = permutation.reordered(sizes, turn.order)
    turn.set_ints(1, "shape", target(sizes) or [])


def transposing(turn: Turn) -> None:
    """It permutes differently."""
    own = permutation.of(turn.node)
    if own is not None:
        new = permutation.permuted(own, turn.order)
        turn.node.attributes.add(ir.AttrInt64s("perm", new))
