"""The scale and zero point of the least weighted error, searched for block by block.

The idea of the k-quants of llama.cpp: clip a little where that makes the rest finer, and weigh
every weight by how much it matters. For integers ``q`` the best scale is in closed form,
``sum(w x q) / sum(w q q)``, so that only the integers are searched for.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.weight_only.blocks import BlockGrid, usable_scale
from edgeq.weight_only.nearest import affine_grid, covering_grid, covering_scale, symmetric_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec

_KEPT: Final = {
    8: (1.0, 0.985, 0.97),
    4: (1.0, 0.92, 0.84),
    2: (1.0, 0.86, 0.72, 0.6, 0.48, 0.36),
}
"""Parts of each side of the range that are tried: the coarser the grid, the more clipping pays."""

_STRETCHED: Final = {
    8: (1.0, 1.004, 0.985, 0.97),
    4: (1.0, 1.14, 1.07, 0.96, 0.92, 0.88, 0.84, 0.78, 0.72),
    2: (1.0, 2.0, 1.7, 1.4, 1.2, 0.88, 0.76, 0.64, 0.52),
}
"""What symmetric scales are multiplied by, for either sign; above 1 the other side of zero, which
has one integer less, holds the greatest magnitude."""

_REFITS: Final = 1
"""Rounds of integers for a scale and a scale for integers behind the search; a second one changes
the outputs of a language model's layers by less than 0.01 dB."""


def least_error_grid(
    rows: FloatArray, spec: BlockSpec, importance: FloatArray | None = None
) -> BlockGrid:
    """The best grid found for each block.

    Args:
        rows: float32 [rows, blocks, size].
        spec: Bits and size.
        importance: What a squared error of each weight counts, float32 [blocks, size], the same
            in every row. None where nobody knows: then the error of a large weight counts for
            more, as in llama.cpp, because clipping the few large ones ruins a model long before
            the mean error shows it.
    """
    weights = _larger_first(rows) if importance is None else np.broadcast_to(importance, rows.shape)
    best = covering_grid(rows, spec)
    best, gain = _fitted(rows, weights, best)
    for candidate in _candidates(rows, spec):
        best, gain = _better(_fitted(rows, weights, candidate), (best, gain))
    for _ in range(_REFITS):
        best, gain = _better(_fitted(rows, weights, best), (best, gain))
    return best


def _larger_first(rows: FloatArray) -> FloatArray:
    """The mean magnitude of the block plus that of the weight (llama.cpp, ggml-quants.c)."""
    size = np.abs(rows)
    return np.asarray(size + size.mean(axis=-1, keepdims=True), np.float32)


def _candidates(rows: FloatArray, spec: BlockSpec) -> Iterator[BlockGrid]:
    if spec.symmetric:
        scale = covering_scale(rows, spec)
        for sign, factor in itertools.product((1.0, -1.0), _STRETCHED[spec.bits]):
            yield symmetric_grid(scale * np.float32(sign * factor), spec)
        return
    # Weights that were on a grid around zero before, as of a model from elsewhere, stay on it.
    yield symmetric_grid(covering_scale(rows, spec), spec)
    low = np.minimum(rows.min(axis=-1), 0.0)
    high = np.maximum(rows.max(axis=-1), 0.0)
    for below, above in itertools.product(_KEPT[spec.bits], repeat=2):
        yield affine_grid(low * np.float32(below), high * np.float32(above), spec)


def _fitted(rows: FloatArray, weights: FloatArray, grid: BlockGrid) -> tuple[BlockGrid, FloatArray]:
    """The best scales for the integers of ``grid``, and how much squared error they take away."""
    steps = np.rint(rows / grid.scale[..., None])
    zero = grid.zero_point[..., None]
    np.clip(steps, -zero, grid.spec.top - zero, out=steps)
    weighted = steps * weights
    # einsum adds up without an array of products.
    across = np.einsum("rbs,rbs->rb", weighted, rows)
    along = np.einsum("rbs,rbs->rb", weighted, steps)
    safe = np.where(along > 0, along, np.float32(1.0))
    scale = np.where(along > 0, across / safe, grid.scale)
    return BlockGrid(grid.spec, usable_scale(scale), grid.zero_point), across * across / safe


def _better(
    one: tuple[BlockGrid, FloatArray], other: tuple[BlockGrid, FloatArray]
) -> tuple[BlockGrid, FloatArray]:
    """Block by block the grid that takes away more error."""
    (left, first), (right, second) = one, other
    chosen = first > second
    merged = BlockGrid(
        left.spec,
        np.where(chosen, left.scale, right.scale),
        np.where(chosen, left.zero_point, right.zero_point),
    )
    return merged, np.where(chosen, first, second)
