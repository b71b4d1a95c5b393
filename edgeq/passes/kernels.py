"""Kernels of convolutions and matrices of products, with their biases, that can be added up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes import layer as layers

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Affine, Float64
    from edgeq.passes.layer import Layer

_BY_SIZE = ("SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What a layer computes, apart from what it reads.

    Attributes:
        weight: [out, in / groups, *taps]; of a product [out, in].
        bias: [out]
        groups: Groups of channels.
        steps: Stride and dilation per spatial axis.
        pads: Padding at the begin and end of each spatial axis.
    """

    weight: Float64
    bias: Float64
    groups: int
    steps: tuple[tuple[int, int], ...]
    pads: tuple[tuple[int, int], ...]

    def times(self, sign: int) -> Kernel:
        """The kernel of the output times ``sign``."""
        return replace(self, weight=self.weight * sign, bias=self.bias * sign)


@dataclass(frozen=True, slots=True)
class _Axis:
    """How two kernels lie on one axis of a third one that covers both.

    Attributes:
        taps: Length of the third one.
        dilation: Its dilation.
        pads: Its padding.
        offsets: Where the two begin in it.
    """

    taps: int
    dilation: int
    pads: tuple[int, int]
    offsets: tuple[int, int]


def read(layer: Layer) -> Kernel | None:
    """The kernel of a Conv, MatMul or Gemm; None for one that is not told."""
    node, numbers = layer.node, layers.numbers(layer)
    if not is_op(node, "Conv"):
        if node.attributes.get_int("transA", 0):
            return None
        alpha = node.attributes.get_float("alpha", 1.0) if is_op(node, "Gemm") else 1.0
        matrix = alpha * numbers.weight.reshape(layer.view[1:3])
        return Kernel(matrix if layer.out_dim == 1 else matrix.T, numbers.bias, 1, (), ())
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    stored = constants.tensor(node.inputs[1])
    if mode in _BY_SIZE or stored is None:
        return None
    shape = stored.shape.numpy()
    count = len(shape) - 2
    pads = node.attributes.get_ints("pads", ()) if mode == "NOTSET" else ()
    begins = tuple(pads or (0,) * 2 * count)
    steps = [node.attributes.get_ints(k, (1,) * count) for k in ("strides", "dilations")]
    return Kernel(
        numbers.weight.reshape(shape),
        numbers.bias,
        layer.view[0],
        tuple(zip(*steps, strict=True)),
        tuple(zip(begins[:count], begins[count:], strict=True)),
    )


def pointwise(like: Layer, affine: Affine) -> Kernel | None:
    """A map per channel as a kernel of one tap, of as many channels and groups as a layer."""
    channels, groups = like.out_channels, like.view[0]
    inner = channels // groups
    weight = np.zeros((channels, inner))
    every = np.arange(channels)
    weight[every, every % inner] = affine.scale
    count = like.rank - 2 if is_op(like.node, "Conv") and like.rank is not None else 0
    shape = (*weight.shape, *(1,) * count)
    return Kernel(weight.reshape(shape), affine.shift, groups, ((1, 1),) * count, ((0, 0),) * count)


def add(a: Kernel, b: Kernel) -> Kernel | None:
    """The kernel that computes the sum of what two compute; None when no kernel does."""
    if a.groups != b.groups or a.weight.shape[:2] != b.weight.shape[:2]:
        return None
    if a.weight.ndim != b.weight.ndim:
        return None
    axes = [_overlaid(a, b, axis) for axis in range(a.weight.ndim - 2)]
    known = [axis for axis in axes if axis is not None]
    if len(known) != len(axes):
        return None
    total = np.zeros((*a.weight.shape[:2], *(axis.taps for axis in known)))
    for index, kernel in enumerate((a, b)):
        starts = [axis.offsets[index] for axis in known]
        sizes = kernel.weight.shape[2:]
        part = tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))
        total[(slice(None), slice(None), *part)] += kernel.weight
    steps = tuple((s, axis.dilation) for (s, _), axis in zip(a.steps, known, strict=True))
    return Kernel(total, a.bias + b.bias, a.groups, steps, tuple(axis.pads for axis in known))


def _overlaid(a: Kernel, b: Kernel, axis: int) -> _Axis | None:
    """How both lie on one axis; None when they differ in output size or in what taps they meet."""
    taps = [k.weight.shape[2 + axis] for k in (a, b)]
    strides, dilations = zip(a.steps[axis], b.steps[axis], strict=True)
    pads = (a.pads[axis], b.pads[axis])
    spread = {d for n, d in zip(taps, dilations, strict=True) if n > 1} or {1}
    if len(set(strides)) != 1 or len(spread) != 1:
        return None
    dilation = spread.pop()
    wider = {sum(p) - (n - 1) * dilation for n, p in zip(taps, pads, strict=True)}
    begin, end = (max(p[side] for p in pads) for side in (0, 1))
    gaps = [begin - p[0] for p in pads]
    if len(wider) != 1 or any(gap % dilation for gap in gaps):
        return None
    length = (begin + end - wider.pop()) // dilation + 1
    first, second = (gap // dilation for gap in gaps)
    return _Axis(length, dilation, (begin, end), (first, second))


def write(layer: Layer, kernel: Kernel, names: Names) -> bool:
    """Let a layer have a kernel, unless that overflows its type."""
    node = layer.node
    is_product = not is_op(node, "Conv")
    stored = kernel.weight.T if is_product and layer.out_dim == 2 else kernel.weight
    with np.errstate(over="ignore"):
        weight, bias = stored.astype(layer.dtype), kernel.bias.astype(layer.dtype)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return False
    edits.set_constant(node, 1, weight, names, f"{node.name}__weight")
    if layer.has_bias and (bias.any() or (len(node.inputs) > 2 and node.inputs[2] is not None)):
        edits.set_constant(node, 2, bias, names, f"{node.name}__bias")
    for attribute in ("alpha", "beta"):
        node.attributes.pop(attribute, None)
    if not is_product:
        _write_geometry(node, kernel)
    return True


def _write_geometry(node: ir.Node, kernel: Kernel) -> None:
    node.attributes.pop("auto_pad", None)
    begins, ends = zip(*kernel.pads, strict=True)
    written = {
        "kernel_shape": kernel.weight.shape[2:],
        "dilations": tuple(dilation for _, dilation in kernel.steps),
        "pads": (*begins, *ends),
    }
    for name, numbers in written.items():
        node.attributes.add(ir.AttrInt64s(name, numbers))
