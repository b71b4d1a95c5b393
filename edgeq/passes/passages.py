"""Nodes that arithmetic per channel may move past, and where the channels are on the other side.

A layer's channels lie along one axis of its output. Behind a Reshape they may be spread over
several neighbouring axes; a pool averages them apart from each other; a rectifier only lets a
positive factor through. A :class:`Place` says where the channels are and what may still move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants
from edgeq.graph.walk import is_op
from edgeq.passes import dims
from edgeq.passes.pattern import given
from edgeq.passes.symbolic import Symbols
from edgeq.passes.symbolic_shapes import axes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.passes.affine import Affine
    from edgeq.passes.dims import Size
    from edgeq.passes.symbolic import Shape
    from edgeq.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a layer's channels are in a value.

    Attributes:
        rank: Rank of the value; None where only its last axes can be told.
        axis: The first axis of the channels, negative.
        sizes: Sizes of the neighbouring axes that they are spread over; the product counts them.
        positive: Whether only positive factors can move from here to the layer.
        unshifted: Whether only factors can.
        index: Layer's channel -> which element of those axes it is; None where they are the same.
    """

    rank: int | None
    axis: int
    sizes: tuple[int, ...]
    positive: bool = False
    unshifted: bool = False
    index: Array | None = None

    def admits(self, affine: Affine) -> bool:
        """Whether what lies between here and the layer commutes with a map per channel."""
        if self.unshifted and np.any(affine.shift != 0):
            return False
        return not self.positive or bool(np.all(affine.scale > 0))

    def at(self, index: Array) -> Array:
        """An index of the channels here, one entry per element that the axes had before."""
        return index if self.index is None else index[self.index]


def moves_only(node: ir.Node) -> bool:
    """Whether the node's output has the very elements of its input."""
    return is_op(node, "Transpose", *_VIEWS)


class Passages:
    """Follows channels past nodes of one model.

    Args:
        model: Its shapes are read when the first node needs them.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._symbols: Symbols | None = None

    def behind(self, node: ir.Node, place: Place) -> Place | None:
        """The place in the node's output, from that in its input; None when they are lost."""
        return self._pass(node, place, 1)

    def in_front(self, node: ir.Node, place: Place) -> Place | None:
        """The place in the node's first input, from that in its output."""
        return self._pass(node, place, -1)

    def _pass(self, node: ir.Node, place: Place, direction: int) -> Place | None:
        if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            return None
        rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
        if rule is not None:
            return rule(node, place, direction)
        return self._view(node, place, direction) if is_op(node, *_VIEWS) else None

    def _view(self, node: ir.Node, place: Place, direction: int) -> Place | None:
        if self._symbols is None:
            self._symbols = Symbols(self._model)
        ends = [self._symbols.shape(v) for v in (node.inputs[0], node.outputs[0])]
        before, after = ends[::direction]
        if before is None or after is None or len(before) < -place.axis:
            return None
        return _follow(before, after, place)


def _follow(before: Shape, after: Shape, place: Place) -> Place | None:
    """The axes behind a view that hold the same elements of each channel."""
    end = len(before) + place.axis + len(place.sizes)
    inner, channels = dims.product(before[end:]), int(np.prod(place.sizes))
    if before[end - len(place.sizes) : end] != place.sizes or inner is None:
        return None
    for stop in range(1, len(after) + 1):
        if dims.product(after[stop:]) != inner:
            continue
        for start in range(stop - 1, -1, -1):
            sizes = _numbers(after[start:stop])
            if sizes is not None and int(np.prod(sizes)) == channels:
                return replace(place, rank=len(after), axis=start - len(after), sizes=sizes)
        return None
    return None


def _numbers(sizes: tuple[Size, ...]) -> tuple[int, ...] | None:
    found = tuple(s for s in sizes if isinstance(s, int))
    return found if len(found) == len(sizes) else None


def _transpose(node: ir.Node, place: Place, direction: int) -> Place | None:
    order = tuple(node.attributes.get_ints("perm", ()))
    rank = len(order)
    if not order or place.rank not in (None, rank):
        return None
    axes = [place.axis + rank + i for i in range(len(place.sizes))]
    moved = [order.index(a) if direction > 0 else order[a] for a in axes]
    first = min(moved)
    if sorted(moved) != list(range(first, first + len(moved))):
        return None
    if moved == sorted(moved):
        return replace(place, rank=rank, axis=first - rank)
    # Position of each axis here among the axes there.
    turned = [m - first for m in moved]
    sizes = tuple(place.sizes[turned.index(i)] for i in range(len(turned)))
    index = np.arange(np.prod(sizes)).reshape(sizes).transpose(turned).reshape(-1)
    return replace(place, rank=rank, axis=first - rank, sizes=sizes, index=place.at(index))


def _planes(place: Place) -> Place | None:
    """The place with the channels in axis 1 only, for ops that mix the axes behind it."""
    if place.rank is None or place.axis + place.rank != 1:
        return None
    if len(place.sizes) == 1:
        return place
    index = np.arange(np.prod(place.sizes)) // int(np.prod(place.sizes[1:]))
    return replace(place, sizes=place.sizes[:1], index=place.at(index))


def _highest(node: ir.Node, place: Place, direction: int) -> Place | None:
    """The highest number of a window goes with any rising map."""
    del node, direction
    planes = _planes(place)
    return None if planes is None else replace(planes, positive=True)


def _average(node: ir.Node, place: Place, direction: int) -> Place | None:
    """An average goes with any map, unless zeros from beyond the border are part of it."""
    del direction
    padded = any(node.attributes.get_ints("pads", ())) or node.attributes.get_string(
        "auto_pad", "NOTSET"
    ) not in ("NOTSET", "VALID")
    counted = node.attributes.get_int("count_include_pad", 0) != 0
    if node.attributes.get_int("ceil_mode", 0) or (padded and counted):
        return None
    return _planes(place)


def _global_average(node: ir.Node, place: Place, direction: int) -> Place | None:
    del node, direction
    return _planes(place)


def _mean(node: ir.Node, place: Place, direction: int) -> Place | None:
    """A mean over other axes, which stay as dimensions of 1."""
    del direction
    rank = place.rank
    axes = None if rank is None else axes_of(node, rank)
    if rank is None or not axes or not node.attributes.get_int("keepdims", 1):
        return None
    own = {place.axis + rank + i for i in range(len(place.sizes))}
    return None if own & set(axes) else place


def _rectifier(node: ir.Node, place: Place, direction: int) -> Place | None:
    """What bends at 0 goes with positive factors."""
    del direction
    if is_op(node, "PRelu") and not constants.is_constant(node.inputs[1]):
        return None
    return replace(place, positive=True, unshifted=True)


def _resize(node: ir.Node, place: Place, direction: int) -> Place | None:
    """Every number is a copy or a weighted mean of numbers of its channel.

    In front of it there is less to add to: what a padded layer leaves of a shift stays there.
    """
    mode = node.attributes.get_string("mode", "nearest")
    grid = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear") or grid == "tf_crop_and_resize":
        return None
    scales = constants.array(node.inputs[2]) if given(node, 2) else None
    apart = scales is not None and len(scales) == place.rank and bool((scales[:2] == 1).all())
    planes = _planes(place)
    if not apart or planes is None:
        return None
    return planes if direction > 0 else replace(planes, unshifted=True)


_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")

_RULES: dict[str, Callable[[ir.Node, Place, int], Place | None]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _highest,
    "LeakyRelu": _rectifier,
    "MaxPool": _highest,
    "PRelu": _rectifier,
    "ReduceMean": _mean,
    "Relu": _rectifier,
    "Resize": _resize,
    "Transpose": _transpose,
}
"""Operator -> where the channels are on its other side."""
