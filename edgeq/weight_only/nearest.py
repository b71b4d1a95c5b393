"""Round to nearest: every block covers its least and its greatest weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.weight_only.blocks import BlockGrid, usable_scale

if TYPE_CHECKING:
    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec


def covering_grid(rows: FloatArray, spec: BlockSpec) -> BlockGrid:
    """The grid that holds all weights of each block.

    Args:
        rows: float32 [rows, blocks, size].
        spec: Bits and size. Symmetric blocks have one more integer on one side of zero: the
            greatest magnitude takes it, and the scale is negative where that is positive.
    """
    if spec.symmetric:
        return symmetric_grid(covering_scale(rows, spec), spec)
    low, high = rows.min(axis=-1), rows.max(axis=-1)
    return affine_grid(np.minimum(low, 0.0), np.maximum(high, 0.0), spec)


def covering_scale(rows: FloatArray, spec: BlockSpec) -> FloatArray:
    """Scales [rows, blocks] by which the greatest magnitude takes the integer 0."""
    return np.asarray(_extreme(rows) / -spec.middle, np.float32)


def symmetric_grid(scale: FloatArray, spec: BlockSpec) -> BlockGrid:
    """The grid of these scales [rows, blocks] around the middle."""
    used = usable_scale(scale)
    return BlockGrid(spec, used, np.full(used.shape, spec.middle, np.float32))


def affine_grid(low: FloatArray, high: FloatArray, spec: BlockSpec) -> BlockGrid:
    """The grid from ``low`` to ``high`` [rows, blocks], which lie on both sides of zero."""
    scale = usable_scale((high - low) / np.float32(spec.top))
    zero_point = np.clip(np.rint(-low / scale), 0, spec.top).astype(np.float32)
    return BlockGrid(spec, scale, zero_point)


def _extreme(rows: FloatArray) -> FloatArray:
    """The weight of the greatest magnitude in each block, with its sign."""
    place = np.abs(rows).argmax(axis=-1)
    found: FloatArray = np.take_along_axis(rows, place[..., None], axis=-1)[..., 0]
    return found
