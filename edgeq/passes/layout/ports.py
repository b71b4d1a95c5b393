"""Which inputs and outputs of a node change their order of axes together, operator by operator.

A function here answers for a node and an order of axes what would be permuted if the node worked
in that order; None where it cannot, or where what must be known is not. Semantics are those of the
ONNX operators; where opsets pass numbers as attribute or as input, both are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.shapes import rank, static
from edgeq.passes.layout import permutation
from edgeq.passes.pattern import given, ints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.passes.layout.permutation import Order


@dataclass(frozen=True, slots=True)
class Ports:
    """Inputs and outputs, by number, whose axes are permuted together; constants are not listed."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


READER = Ports(inputs=(0,))
"""Reads input 0 in whatever order; what it makes of it is the same."""

WRITER = Ports(outputs=(0,))
"""Writes its output in whatever order; what it reads stays as it is."""

THROUGH = Ports(inputs=(0,), outputs=(0,))


def varies(value: ir.Value | None, axes: int) -> bool:
    """Whether the value is computed and has that many axes."""
    return value is not None and not constants.is_constant(value) and rank(value) == axes


def single(node: ir.Node, order: Order) -> Ports | None:
    """Input 0 is what is worked on; all outputs are shaped like it, or along one axis not."""
    if not node.inputs or not varies(node.inputs[0], len(order)):
        return None
    outputs = tuple(i for i, v in enumerate(node.outputs) if v.name)
    if not all(varies(node.outputs[i], len(order)) for i in outputs):
        return None
    return Ports((0,), outputs)


def broadcast(node: ir.Node, order: Order) -> Ports | None:
    """All inputs are broadcast to the output as NumPy would."""
    # Before opset 7 an attribute said along which axis.
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return None
    return operands(node, order)


def operands(node: ir.Node, order: Order) -> Ports | None:
    """All inputs have the output's axes, or are constants or single elements."""
    linked = []
    for index, value in enumerate(node.inputs):
        if varies(value, len(order)):
            linked.append(index)
        elif not _fits(value, len(order)):
            return None
    return Ports(tuple(linked), (0,)) if linked and varies(node.outputs[0], len(order)) else None


def _fits(value: ir.Value | None, axes: int) -> bool:
    if value is None:
        return False
    if constants.is_constant(value):
        known = rank(value)
        return known is not None and known <= axes and value.dtype != ir.DataType.STRING
    shape = static(value)
    return shape is not None and len(shape) < axes and all(size == 1 for size in shape)


def dropout(node: ir.Node, order: Order) -> Ports | None:
    """Hands its input on, unless it drops at random."""
    if given(node, 2) and constants.scalar(node.inputs[2]) != 0:
        return None
    return None if "is_test" in node.attributes else single(node, order)


def quantizer(node: ir.Node, order: Order) -> Ports | None:
    """Scales for the whole tensor or along an axis, not by blocks."""
    scale = node.inputs[1] if given(node, 1) else None
    blocks = node.attributes.get_int("block_size", 0)
    return None if blocks or rank(scale) not in (0, 1) else single(node, order)


def reduction(node: ir.Node, order: Order) -> Ports | None:
    """Over axes given as an attribute or as input 1; over all of them when there are none."""
    if not varies(node.inputs[0], len(order)) or (given(node, 1) and ints(node, 1, "axes") is None):
        return None
    axes = ints(node, 1, "axes") or ()
    if _normalizes(node, axes, len(order)):
        return None
    if node.attributes.get_int("keepdims", 1) or (
        not axes and node.attributes.get_int("noop_with_empty_axes", 0)
    ):
        return THROUGH
    return _dropping(axes or tuple(range(len(order))), order)


def _normalizes(node: ir.Node, axes: Sequence[int], count: int) -> bool:
    """Whether it is a mean, or a mean square, that a layer normalization is spelled with.

    onnxruntime fuses one that is spelled out along the last axis only
    (core/optimizer/layer_norm_fusion.cc).
    """
    if node.op_type != "ReduceMean" or [axis % count for axis in axes] != [count - 1]:
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    behind = [use.node for r in readers if r.op_type == "Add" for use in r.outputs[0].uses()]
    return any(r.op_type == "Sub" and r.inputs[0] is node.inputs[0] for r in readers) or any(
        n.op_type in ("Sqrt", "Pow") for n in (*readers, *behind)
    )


def reduced(node: ir.Node) -> Sequence[int]:
    """The axes of a reduction; none where it is over all of them."""
    return ints(node, 1, "axes") or ()


def axis(default: int) -> Callable[[ir.Node], Sequence[int]]:
    """The axis that is an attribute; ``default`` where the operator leaves it out."""
    return lambda node: (node.attributes.get_int("axis", default),)


def picking(node: ir.Node, order: Order) -> Ports | None:
    """ArgMax and ArgMin: over one axis."""
    if node.attributes.get_int("keepdims", 1):
        return single(node, order)
    if not varies(node.inputs[0], len(order)):
        return None
    return _dropping((node.attributes.get_int("axis", 0),), order)


def _dropping(axes: Sequence[int], order: Order) -> Ports | None:
    gone = {axis % len(order) for axis in axes}
    return READER if permutation.keeps(order, set(order) - gone) else None


def gather(node: ir.Node, order: Order) -> Ports | None:
    """Indices in a row keep the axis, a single one drops it."""
    if not varies(node.inputs[0], len(order)):
        return None
    indices = rank(node.inputs[1])
    if indices == 1:
        return single(node, order)
    return _dropping((node.attributes.get_int("axis", 0),), order) if indices == 0 else None


def cumulative(node: ir.Node, order: Order) -> Ports | None:
    """CumSum: its axis is input 1."""
    return single(node, order) if constants.scalar(node.inputs[1]) is not None else None


def slicing(node: ir.Node, order: Order) -> Ports | None:
    """Starts, ends and axes are attributes up to opset 9, then inputs."""
    if given(node, 3):
        return single(node, order) if ints(node, 3, "axes") is not None else None
    if "axes" in node.attributes or "starts" in node.attributes:
        return single(node, order)
    starts = static(node.inputs[1]) if given(node, 1) else None
    return single(node, order) if starts is not None and len(starts) == 1 else None


def padding(node: ir.Node, order: Order) -> Ports | None:
    """Amounts are an attribute up to opset 10, then input 1; opset 18 names axes."""
    if given(node, 3):
        return single(node, order) if ints(node, 3, "") is not None else None
    if given(node, 1):
        return single(node, order) if has_length(node, 1, 2 * len(order)) else None
    known = len(node.attributes.get_ints("pads", ())) == 2 * len(order)
    return single(node, order) if known else None


def has_length(node: ir.Node, index: int, length: int) -> bool:
    """Whether input ``index`` is a vector of that length."""
    return given(node, index) and static(node.inputs[index]) == (length,)


def resizing(node: ir.Node, order: Order) -> Ports | None:
    """Resize and Upsample, by scales or sizes.

    Anything but the nearest neighbour is computed over the last axes only (onnxruntime,
    core/providers/cpu/tensor/upsample.cc): such a node moves them nowhere else.
    """
    vectors = resize_vectors(node, len(order))
    if vectors is None:
        return None
    if node.attributes.get_string("mode", "nearest") != "nearest":
        resized = _resized(node, vectors)
        last = tuple(range(len(order) - len(resized or ()), len(order)))
        if resized is None or tuple(order.index(axis) for axis in resized) != last:
            return None
    return single(node, order)


def resize_vectors(node: ir.Node, axes: int) -> tuple[int, ...] | None:
    """The inputs of a Resize or Upsample that hold a number (or two: roi) per axis."""
    if "axes" in node.attributes:
        return ()
    if len(node.inputs) <= 2:
        if len(node.inputs) == 1:
            return () if len(node.attributes.get_floats("scales", ())) == axes else None
        return (1,) if has_length(node, 1, axes) else None
    crops = node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    used = [i for i in (2, 3) if given(node, i) and static(node.inputs[i]) != (0,)]
    if crops and not has_length(node, 1, 2 * axes):
        return None
    if len(used) != 1 or not has_length(node, used[0], axes):
        return None
    return (1, *used) if crops else tuple(used)


def _resized(node: ir.Node, vectors: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes that a Resize may change; None where unknown."""
    if "axes" in node.attributes:
        axes = rank(node.inputs[0]) or 1
        return tuple(sorted(axis % axes for axis in node.attributes.get_ints("axes", ())))
    data = node.inputs[0]
    if not vectors:
        scales: Sequence[float] = node.attributes.get_floats("scales", ())
        return tuple(axis for axis, scale in enumerate(scales) if scale != 1)
    found = constants.array(node.inputs[vectors[-1]])
    if found is None or data is None or data.shape is None:
        return None
    same = data.shape if vectors[-1] == 3 else (1.0,) * len(found)
    return tuple(axis for axis, size in enumerate(found) if size != same[axis])


def expanding(node: ir.Node, order: Order) -> Ports | None:
    """Expand: the target is input 1."""
    target = constants.array(node.inputs[1])
    known = target is not None and target.ndim == 1 and target.size <= len(order)
    return single(node, order) if known or has_length(node, 1, len(order)) else None


def tiling(node: ir.Node, order: Order) -> Ports | None:
    """Tile: repeats are input 1, one an axis."""
    fits = len(node.inputs) == 2 and has_length(node, 1, len(order))
    return single(node, order) if fits else None
