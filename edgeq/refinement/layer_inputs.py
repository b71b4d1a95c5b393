"""Layers with constant weights as matrix products: weights and what they read as matrices.

A convolution is, for every group, the product of its weights [channels out, n] with the patches of
its input, n numbers each, one patch per output position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph.walk import is_op

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, IntArray

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Patches:
    """How a layer reads its input.

    Attributes:
        groups: Independent products.
        kernel: Sizes of the kernel; empty where rows of the input are read as they are.
        strides: Steps of the kernel.
        dilations: Distances within the kernel.
        pads: Zeros before and after each axis, as the attribute ``pads`` has them; None: ``same``.
        same: ``auto_pad`` of the node.
    """

    groups: int = 1
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] | None = None
    same: str = "NOTSET"

    def columns(
        self,
        data: Array,
        most: int,
        seed: int = 0,
        reals: Callable[[Array], FloatArray] = lambda stored: np.asarray(stored, np.float32),
    ) -> FloatArray:
        """What the layer multiplies its weights with, at some output positions.

        Args:
            data: What it reads: [batch, channels, *spatial], or [..., n] without a kernel.
            most: Positions at most; they are spread over all of them, each at most once where all
                are wanted.
            seed: Shifts them.
            reals: What the stored numbers stand for, number by number.

        Returns:
            float32 [groups, n, positions], n being channels / groups x kernel.
        """
        if not self.kernel:
            flat = data.reshape(-1, data.shape[-1])
            return reals(flat[_spread(len(flat), most, seed)]).T[None]
        before, places = self._outputs(data.shape[2:])
        found = _spread(data.shape[0] * math.prod(places), most, seed)
        index, *where = np.unravel_index(found, (data.shape[0], *places))
        rank, inside = len(self.kernel), np.ones((), bool)
        for axis, (start, pad, size) in enumerate(zip(where, before, data.shape[2:], strict=True)):
            offsets = np.arange(self.kernel[axis]) * self.dilations[axis] - pad
            offsets = offsets.reshape([-1 if a == axis else 1 for a in (*range(rank), None)])
            read = start * self.strides[axis] + offsets
            inside = inside & (read >= 0) & (read < size)
            index = index * size + np.clip(read, 0, size - 1)
        # Channel by channel, as the numbers lie in memory; a single sample is not copied.
        channels = np.moveaxis(data, 1, 0).reshape(data.shape[1], -1)
        taken = reals(channels.take(index, axis=1, mode="clip"))
        if not inside.all():
            taken = np.where(inside, taken, np.float32(0))
        return taken.reshape(self.groups, -1, len(found))

    def _outputs(self, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Zeros before each spatial axis of the input, and the sizes of the output."""
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        before, after = self._padding(spatial, reach)
        sizes = zip(spatial, before, after, reach, self.strides, strict=True)
        return before, tuple((n + p + q - far) // step + 1 for n, p, q, far, step in sizes)

    def _padding(
        self, spatial: tuple[int, ...], reach: list[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Zeros before and after each spatial axis (ONNX operator Conv, ``auto_pad``)."""
        rank = len(self.kernel)
        if self.pads is not None:
            return self.pads[:rank], self.pads[rank:]
        steps = zip(spatial, self.strides, reach, strict=True)
        total = [max((-(-size // step) - 1) * step + far - size, 0) for size, step, far in steps]
        less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        return (less, more) if self.same == "SAME_UPPER" else (more, less)


def patches_of(node: ir.Node, weight: Array) -> Patches | None:
    """How a Conv, Gemm or MatMul reads its input; None where it is no such product."""
    if is_op(node, "Conv"):
        rank = weight.ndim - 2
        ones, same = (1,) * rank, node.attributes.get_string("auto_pad", "NOTSET")
        pads = tuple(node.attributes.get_ints("pads", (0,) * 2 * rank) or ())
        return Patches(
            groups=node.attributes.get_int("group", 1),
            kernel=tuple(weight.shape[2:]),
            strides=tuple(node.attributes.get_ints("strides", ones) or ()),
            dilations=tuple(node.attributes.get_ints("dilations", ones) or ()),
            pads=None if same.startswith("SAME") else (0,) * 2 * rank if same == "VALID" else pads,
            same=same,
        )
    product = is_op(node, "MatMul") or (
        is_op(node, "Gemm") and not node.attributes.get_int("transA", 0)
    )
    return Patches() if product and weight.ndim == _MATRIX else None


def as_matrix(node: ir.Node, weight: Array) -> Array:
    """The weight of such a layer as [groups, outputs per group, n]."""
    if is_op(node, "Conv"):
        groups = node.attributes.get_int("group", 1)
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    return (weight if _is_turned(node) else weight.T)[None]


def from_matrix(node: ir.Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """The weight of shape ``shape`` that :func:`as_matrix` makes ``matrix`` of."""
    if is_op(node, "Conv"):
        return matrix.reshape(shape)
    return np.ascontiguousarray(matrix[0] if _is_turned(node) else matrix[0].T)


def _is_turned(node: ir.Node) -> bool:
    return is_op(node, "Gemm") and node.attributes.get_int("transB", 0) != 0


def _spread(total: int, most: int, seed: int) -> IntArray:
    """Up to ``most`` of ``total`` positions, without the period of any axis."""
    if total <= most:
        return np.arange(total)
    fractions = np.modf((np.arange(most) + most * seed) * _GOLDEN)[0]
    return np.unique((fractions * total).astype(np.int64))
