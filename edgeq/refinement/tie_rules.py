"""What each operator does to the factors that channels carry: one rule an operator.

A rule says what the outputs of a node carry, ties factors that have to be equal, and notes what
takes factors up; it answers None where the node wants what it reads as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeq.graph import constants
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import layer as layers
from edgeq.passes import passages
from edgeq.passes.pattern import given, spells_fusion
from edgeq.refinement.ties import ConstantTie, LayerTie, Place, Ties

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.passes.layer import Layer

Places: TypeAlias = list[Place | None] | None


def tie_layer(ties: Ties, node: ir.Node) -> Places:
    """A layer takes all up; a product of two values hands on what its right factor carries."""
    layer = layers.read(node)
    if not isinstance(layer, layers.Layer) or not _is_own(layer):
        return _product(ties, node) if is_op(node, "MatMul") else None
    data = ties.place(node.inputs[0])
    transposed = node.attributes.get_int("transA", 0) != 0
    fits = data is not None and data.axes == (layer.axis,) and not transposed
    if data is not None and not (fits and data.slots.size == layer.in_channels):
        ties.refuse(node)
        data = None
    outer = ties.factors.fresh(layer.out_channels)
    ties.layers.append(LayerTie(layer, None if data is None else data.slots, outer))
    return [Place((layer.axis,), outer)]


def _is_own(layer: Layer) -> bool:
    """Whether the weight is in float32 and read by this node alone: changing it copies nothing."""
    weight = layer.node.inputs[1]
    alone = weight is not None and len(weight.uses()) == 1
    return alone and layer.dtype == np.float32


def _product(ties: Ties, node: ir.Node) -> Places:
    """Rows of the left factor mix rows of the right one: columns stay apart."""
    left, right = node.inputs
    place, ranks = ties.place(right), [rank_of(left), rank_of(right)]
    if place is None or -2 in place.axes or any(rank is None or rank < 2 for rank in ranks):
        return None
    ties.refuse_input(node, 0)
    return [place]


def _same(ties: Ties, node: ir.Node) -> Places:
    return [ties.place(node.inputs[0])]


def _pool(ties: Ties, node: ir.Node) -> Places:
    """Pools keep axis 1 and mix those behind it."""
    place, rank = ties.place(node.inputs[0]), rank_of(node.inputs[0])
    if place is None:
        return [None]
    mixed = rank is None or place.axes != (1 - rank,)
    return None if mixed or len(node.outputs) > 1 else [place]


def _resize(ties: Ties, node: ir.Node) -> Places:
    """Every number is a weighted mean of numbers of its channel, if the channels stay."""
    place = ties.place(node.inputs[0])
    if place is None:
        return [None]
    grid = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    shape = node.outputs[0].shape
    if grid == "tf_crop_and_resize" or shape is None or len(place.axes) != 1:
        return None
    return [place] if shape[place.axes[0]] == place.slots.size else None


def _rectifier(ties: Ties, node: ir.Node) -> Places:
    """Factors are positive, so what bends at 0 goes with them."""
    constant = is_op(node, "LeakyRelu") or constants.is_constant(node.inputs[1])
    return [ties.place(node.inputs[0])] if constant else None


def _clip(ties: Ties, node: ir.Node) -> Places:
    place = ties.place(node.inputs[0])
    known = all(v is None or constants.scalar(v) is not None for v in node.inputs[1:])
    if place is None or not known:
        return None
    ties.clips.append((node, place))
    return [place]


def _transpose(ties: Ties, node: ir.Node) -> Places:
    place = ties.place(node.inputs[0])
    if place is None:
        return [None]
    order = tuple(node.attributes.get_ints("perm", ()))
    rank = len(order)
    if not order:
        return None
    return [Place(tuple(order.index(a + rank) - rank for a in place.axes), place.slots)]


VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def tie_view(ties: Ties, node: ir.Node, follower: passages.Passages) -> Places:
    """Neighbouring axes may be merged and split."""
    place = ties.place(node.inputs[0])
    if place is None:
        return [None]
    first = place.axes[0]
    if place.axes != tuple(range(first, first + len(place.axes))):
        return None
    moved = follower.behind(node, passages.Place(None, first, place.slots.shape))
    if moved is None:
        return None
    axes = tuple(range(moved.axis, moved.axis + len(moved.sizes)))
    return [Place(axes, place.slots.reshape(moved.sizes))]


def _sum(ties: Ties, node: ir.Node) -> Places:
    """A constant takes up what the other input carries; two values have to carry the same."""
    left, right = node.inputs
    for index, other in ((0, right), (1, left)):
        if constants.is_constant(node.inputs[index]):
            place = ties.place(other)
            if place is not None and _reaches(node, place):
                ties.constants.append(ConstantTie(node, index, place, place, divides=True))
                return [place]
            return None if place is not None else [None]
    one, two = ties.place(left), ties.place(right)
    if one is None or two is None or not _alike(one, two):
        return None
    ties.factors.tie(one.slots, two.slots)
    return [one]


def _alike(one: Place, other: Place) -> bool:
    return one.axes == other.axes and one.slots.shape == other.slots.shape


def _reaches(node: ir.Node, place: Place) -> bool:
    """Whether the output has the axes of the channels as the input does."""
    shape = node.outputs[0].shape
    return shape is not None and all(
        len(shape) >= -axis and shape[axis] == size
        for axis, size in zip(place.axes, place.slots.shape, strict=True)
    )


def _scale(ties: Ties, node: ir.Node) -> Places:
    """A constant factor takes up everything; of two values one carries, the free one if any."""
    left, right = node.inputs
    divides = is_op(node, "Div")
    if constants.is_constant(right) or (constants.is_constant(left) and not divides):
        return _constant_factor(ties, node, 1 if constants.is_constant(right) else 0)
    one, two = ties.place(left), ties.place(right)
    gated = one is not None and two is not None and ties.factors.frozen()[one.slots].any()
    if (one is None or gated) and not divides:
        if one is not None:
            ties.refuse_input(node, 0)
        return None if two is None or not _reaches(node, two) else [two]
    if one is None or not _reaches(node, one):
        return None
    if two is not None:
        ties.refuse_input(node, 1)
    return [one]


def _constant_factor(ties: Ties, node: ir.Node, index: int) -> Places:
    constant, data = constants.array(node.inputs[index]), ties.place(node.inputs[1 - index])
    if constant is None or constant.dtype != np.float32:
        return None
    if constant.size == 1 and _is_fused(node):
        return None
    outer = _like(ties, data) if data is not None else _from_shape(ties, constant.shape)
    if outer is None or not _reaches(node, outer):
        return None
    ties.constants.append(ConstantTie(node, index, data, outer, is_op(node, "Div")))
    return [outer]


def _is_fused(node: ir.Node) -> bool:
    """Whether runtimes know the scalar as part of a GELU or the like."""
    output = node.outputs[0]
    behind = any(is_op(reader, "Erf", "Tanh", "Sigmoid") for reader in output.consumers())
    return behind or spells_fusion(output)


def _like(ties: Ties, place: Place) -> Place:
    fresh = ties.factors.fresh(place.slots.size).reshape(place.slots.shape)
    return Place(place.axes, fresh)


def _from_shape(ties: Ties, shape: tuple[int, ...]) -> Place | None:
    """Where a constant tells channels apart that nothing in front of it does."""
    long = [axis - len(shape) for axis, size in enumerate(shape) if size > 1]
    if len(long) != 1:
        return None
    return Place((long[0],), ties.factors.fresh(shape[long[0]]))


def _norm(ties: Ties, node: ir.Node) -> Places:
    """Scale and bias of a normalization over the last axis are per channel of its output."""
    ties.refuse(node)
    scale = constants.array(node.inputs[1])
    last = node.attributes.get_int("axis", -1) in (-1, (rank_of(node.inputs[0]) or 0) - 1)
    if scale is None or scale.ndim != 1 or not last or scale.dtype != np.float32:
        return [None]
    if given(node, 2) and not constants.is_constant(node.inputs[2]):
        return [None]
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return [None]
    outer = Place((-1,), ties.factors.fresh(scale.size))
    for index in (1, 2) if given(node, 2) else (1,):
        ties.constants.append(ConstantTie(node, index, None, outer))
    return [outer]


def _concat(ties: Ties, node: ir.Node) -> Places:
    """Channels side by side, or several values of the same channels one behind the other."""
    places, rank = [ties.place(v) for v in node.inputs], rank_of(node.outputs[0])
    axis = node.attributes.get_int("axis", 0)
    axis = axis if axis < 0 or rank is None else axis - rank
    found = [p for p in places if p is not None]
    if axis >= 0 or len(found) != len(places) or len({p.axes for p in found}) != 1:
        return None
    along = found[0].axes.index(axis) if axis in found[0].axes else None
    if along is not None:
        return [Place(found[0].axes, np.concatenate([p.slots for p in found], axis=along))]
    for other in found[1:]:
        if not _alike(found[0], other):
            return None
        ties.factors.tie(found[0].slots, other.slots)
    return [found[0]]


def _split(ties: Ties, node: ir.Node) -> Places:
    place, rank = ties.place(node.inputs[0]), rank_of(node.inputs[0])
    if place is None:
        return [None]
    axis = node.attributes.get_int("axis", 0)
    axis = axis if axis < 0 or rank is None else axis - rank
    if axis >= 0:
        return None
    if axis not in place.axes:
        return [place] * len(node.outputs)
    along = place.axes.index(axis)
    sizes = [None if o.shape is None else o.shape[axis] for o in node.outputs]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) != len(sizes) or sum(known) != place.slots.shape[along]:
        return None
    parts = np.split(place.slots, np.cumsum(known)[:-1], axis=along)
    return [Place(place.axes, part) for part in parts]


def _slice(ties: Ties, node: ir.Node) -> Places:
    place, rank = ties.place(node.inputs[0]), rank_of(node.inputs[0])
    if place is None:
        return [None]
    starts, ends = (_integers(node, i) for i in (1, 2))
    if starts is None or ends is None or rank is None:
        return None
    axes = _integers(node, 3) if given(node, 3) else list(range(len(starts)))
    steps = _integers(node, 4) if given(node, 4) else [1] * len(starts)
    if axes is None or steps is None:
        return None
    slots = place.slots
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis if axis < 0 else axis - rank
        if axis in place.axes:
            if step < 1:
                return None
            cut = [slice(None)] * slots.ndim
            cut[place.axes.index(axis)] = slice(start, end, step)
            slots = slots[tuple(cut)]
    return [Place(place.axes, slots)] if slots.size else None


def _integers(node: ir.Node, index: int) -> list[int] | None:
    array = constants.array(node.inputs[index]) if given(node, index) else None
    return None if array is None else [int(i) for i in array.reshape(-1)]


RULES: dict[str, Callable[[Ties, ir.Node], Places]] = {
    "Add": _sum,
    "AveragePool": _pool,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _scale,
    "GlobalAveragePool": _pool,
    "GlobalMaxPool": _pool,
    "Identity": _same,
    "LayerNormalization": _norm,
    "LeakyRelu": _rectifier,
    "MaxPool": _pool,
    "Mul": _scale,
    "PRelu": _rectifier,
    "Relu": _same,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Sub": _sum,
    "Transpose": _transpose,
}
"""Operator -> what its outputs carry."""
