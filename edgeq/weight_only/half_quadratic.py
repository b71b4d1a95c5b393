"""Half-quadratic quantization: a few large errors may stay large if the many small ones shrink.

Minimizes ``sum |w - reals|**p`` with p below 1 by splitting off an error term, after Badri and
Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023). Kernels take whole
zero points, so that zero points are rounded in every round and the scale is fitted beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.weight_only.blocks import BlockGrid, usable_scale
from edgeq.weight_only.nearest import covering_grid

if TYPE_CHECKING:
    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec

_NORM: Final = 0.7
_SHARPNESS: Final = 10.0
_GROWTH: Final = 1.01
_ROUNDS: Final = 20
"""The constants of the paper's reference implementation."""


def half_quadratic_grid(rows: FloatArray, spec: BlockSpec) -> BlockGrid:
    """The grid of each block after the last round that made its error smaller.

    Args:
        rows: float32 [rows, blocks, size].
        spec: Bits and size.
    """
    best = grid = covering_grid(rows, spec)
    least = np.full(grid.scale.shape, np.inf, np.float32)
    sharpness = _SHARPNESS
    # The shrinkage is made for weights of about 1: block by block they are brought there.
    unit = usable_scale(np.abs(rows).max(axis=-1))[..., None]
    for _ in range(_ROUNDS):
        codes = grid.codes(rows).astype(np.float32)
        error = (rows - (codes - grid.zero_point[..., None]) * grid.scale[..., None]) / unit
        size = (np.abs(error) ** _NORM).sum(axis=-1)
        better = size < least
        if not better.any():
            break
        least = np.where(better, size, least)
        best = BlockGrid(
            spec,
            np.where(better, grid.scale, best.scale),
            np.where(better, grid.zero_point, best.zero_point),
        )
        wanted = rows - _shrunk(error, sharpness) * unit
        grid = _fitted(codes, wanted, grid)
        sharpness *= _GROWTH
    return best


def _shrunk(error: FloatArray, sharpness: float) -> FloatArray:
    """What of each error is split off: the generalized soft threshold of the p-norm."""
    size = np.maximum(np.abs(error), np.float32(1e-8))
    kept = np.maximum(size - size ** (_NORM - 1.0) / sharpness, 0.0)
    return np.asarray(np.sign(error) * kept, np.float32)


def _fitted(codes: FloatArray, wanted: FloatArray, grid: BlockGrid) -> BlockGrid:
    """Zero points, then scales that bring the integers nearest to what is wanted of them."""
    zero_point = grid.zero_point
    if not grid.spec.symmetric:
        mean = (codes - wanted / grid.scale[..., None]).mean(axis=-1)
        zero_point = np.clip(np.rint(mean), 0, grid.spec.top).astype(np.float32)
    steps = codes - zero_point[..., None]
    along = (steps * steps).sum(axis=-1)
    across = (steps * wanted).sum(axis=-1)
    scale = np.where(along > 0, across / np.where(along > 0, along, 1.0), grid.scale)
    return BlockGrid(grid.spec, usable_scale(scale), zero_point)
