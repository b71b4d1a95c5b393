"""Shapes that are known, computed anew in every run, as tracing exporters write them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, shapes
from undoing.pen import attribute

if TYPE_CHECKING:
    from undoing.pen import Line, Pen


def static_shapes(pen: Pen) -> int:
    """Compute targets of Reshape, Pad, Resize and Slice; take the padding out of convolutions."""
    done = sum([_pad_before(pen, node) for node in list(pen.nodes("Conv"))])
    shapes.infer(pen.model)
    styles = itertools.cycle((True, False))
    for node in list(pen.nodes(*_SPELLINGS)):
        if node.inputs[0] is not None and shapes.rank(node.inputs[0]):
            done += _SPELLINGS[node.op_type](
                _Sizes(pen.before(node), node.inputs[0], next(styles)), node
            )
    return done


class _Sizes:
    """Integers, where possible computed from the shape of a value; one Shape node for all."""

    def __init__(self, line: Line, value: ir.Value, scalars: bool) -> None:
        self.line = line
        self.dims = [d if isinstance(d, int) and d >= 0 else None for d in value.shape or ()]
        self._value = value
        self._shape: ir.Value | None = None
        self._scalars = scalars

    def dim(self, axis: int, times: int = 1, over: int = 1, plus: int = 0) -> ir.Value:
        """``dim * times / over + plus`` as a vector of one element."""
        if self._shape is None:
            self._shape = self.line("Shape", self._value)
        index = np.array(axis if self._scalars else [axis], np.int64)
        found = self.line("Gather", self._shape, index, axis=0)
        for op_type, number, nothing in (("Mul", times, 1), ("Div", over, 1), ("Add", plus, 0)):
            if number != nothing:
                found = self.line(op_type, found, np.array(number, np.int64))
        return self.line.along("Unsqueeze", found, [0]) if self._scalars else found

    def number(self, wanted: int) -> ir.Value | np.ndarray:
        """``wanted``, from a dimension that has to do with it; else as it is."""
        for axis, size in enumerate(self.dims):
            if size == wanted and wanted > 1:
                return self.dim(axis)
        for axis, size in enumerate(self.dims):
            if size and size > 1 and wanted > 1 and wanted % size == 0:
                return self.dim(axis, times=wanted // size)
            if size and wanted > 1 and size % wanted == 0:
                return self.dim(axis, over=size // wanted)
        return np.array([wanted], np.int64)

    def vector(self, parts: list[ir.Value | np.ndarray]) -> ir.Value:
        return self.line("Concat", *parts, axis=0)

    @property
    def used(self) -> bool:
        return self._shape is not None


def _pad_before(pen: Pen, node: ir.Node) -> bool:
    """The zeros around a convolution's input, in a node of their own."""
    pads = attribute(node, "pads", ())
    if not any(pads) or attribute(node, "auto_pad", "NOTSET") != "NOTSET" or pen.opset < 11:
        return False
    half = len(pads) // 2
    everywhere = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
    node.replace_input_with(0, pen.before(node)("Pad", node.inputs[0], everywhere))
    node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(pads))
    return True


def _reshape(sizes: _Sizes, node: ir.Node) -> bool:
    target = constants.array(node.inputs[1])
    if target is None or attribute(node, "allowzero", 0):
        return False
    parts: list[ir.Value | np.ndarray] = []
    for axis, size in enumerate(target.tolist()):
        parts.append(sizes.dim(axis) if size == 0 else sizes.number(size))
    return _put(sizes, node, 1, parts)


def _flatten(sizes: _Sizes, node: ir.Node) -> bool:
    if attribute(node, "axis", 1) != 1:
        return False
    shape = sizes.vector([sizes.dim(0), np.array([-1], np.int64)])
    sizes.line.pen.replace(node, sizes.line("Reshape", node.inputs[0], shape))
    return True


def _pad(sizes: _Sizes, node: ir.Node) -> bool:
    pads = constants.array(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None or len(pads) != 2 * len(sizes.dims):
        return False
    parts: list[ir.Value | np.ndarray] = []
    for index, pad in enumerate(pads.tolist()):
        size = sizes.dims[index % len(sizes.dims)]
        known = size is not None and pad
        found = sizes.dim(index % len(sizes.dims), plus=pad - (size or 0)) if known else None
        parts.append(np.array([pad], np.int64) if found is None else found)
    return _put(sizes, node, 1, parts)


def _resize(sizes: _Sizes, node: ir.Node) -> bool:
    """Sizes instead of scales, as multiples of those of the input."""
    if len(node.inputs) < 3 or "axes" in node.attributes:
        return False
    scales = constants.array(node.inputs[2])
    if scales is None or len(scales) != len(sizes.dims) or not np.all(scales % 1 == 0):
        return False
    parts: list[ir.Value | np.ndarray] = [
        sizes.dim(axis, times=int(scale)) for axis, scale in enumerate(scales)
    ]
    node.resize_inputs(4)
    if sizes.line.pen.opset < 13:
        # Scales were no optional input then: empty ones are none.
        sizes.line.pen.set_constant(node, 2, np.zeros(0, np.float32))
    else:
        node.replace_input_with(2, None)
    return _put(sizes, node, 3, parts)


def _slice(sizes: _Sizes, node: ir.Node) -> bool:
    if len(node.inputs) < 4:
        return False
    axes, ends = constants.array(node.inputs[3]), constants.array(node.inputs[2])
    if axes is None or ends is None or ends.dtype != np.int64:
        return False
    parts: list[ir.Value | np.ndarray] = []
    for axis, end in zip(axes.tolist(), ends.tolist(), strict=True):
        size = sizes.dims[axis]
        if size is not None and end > 0:
            parts.append(sizes.dim(axis % len(sizes.dims), plus=min(end, size) - size))
        else:
            parts.append(np.array([end], np.int64))
    return _put(sizes, node, 2, parts)


def _put(sizes: _Sizes, node: ir.Node, index: int, parts: list[ir.Value | np.ndarray]) -> bool:
    if not sizes.used:
        return False
    node.replace_input_with(index, sizes.vector(parts))
    return True


_SPELLINGS = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
}
