"""Integers for a weight matrix so that its product with given inputs errs least.

Rounding to nearest minimizes the error of each weight. The error of a layer's output is
(W - W') H (W - W')^T with H the second moments of its inputs: errors of weights whose inputs go
together can cancel out. Weights are rounded one after the other, and each makes up for the errors
of those before (Frantar et al., "GPTQ", 2022, in the form without an inverse of Chee et al.,
"QuIP", 2023, section 4.2); then single integers move as long as that lowers the error. All outputs
are treated at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array, FloatArray

_BLOCK = 64
_DAMPING = 0.01
"""Of the mean of the diagonal of H, added to all of it, as in GPTQ."""

_SWEEPS = 2


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """The numbers that weights may take: ``scale * integer``.

    Attributes:
        scale: float32 [groups, outputs, n].
        limit: Largest magnitude of the integers, zero point subtracted.
    """

    scale: FloatArray
    limit: float


def round_matrix(
    weight: FloatArray, moments: FloatArray, grid: Grid, start: FloatArray
) -> FloatArray:
    """Integers that keep (weight - scale * integers) @ inputs small.

    Args:
        weight: The wanted weights, float [groups, outputs, n].
        moments: Second moments of the inputs, float [groups, n, n].
        grid: What they may become.
        start: Integers of plain rounding. No output gets a larger error than they give it.

    Returns:
        Integers as float32 of the shape of ``weight``.
    """
    # The strongest inputs first: their weights have most left to make up for them.
    order = np.argsort(np.einsum("gnn->gn", moments), axis=-1, kind="stable")[..., ::-1]
    groups = np.arange(len(moments))[:, None, None]
    sorted_moments = moments[groups, order[:, :, None], order[:, None, :]]

    def turned(array: Array) -> FloatArray:
        rows = np.take_along_axis(array.transpose(0, 2, 1), order[..., None], 1)
        return np.ascontiguousarray(rows, np.float32)

    wanted, scale, plain = turned(weight), turned(grid.scale), turned(start)
    factor = _feedback(sorted_moments)
    shared = sorted_moments.astype(np.float32)
    made = _compensated(wanted, scale, factor, grid.limit)
    better = _errors(wanted - made * scale, shared) < _errors(wanted - plain * scale, shared)
    found = _descended(wanted, scale, np.where(better[:, None], made, plain), shared, grid.limit)
    result = np.empty_like(found)
    np.put_along_axis(result, np.broadcast_to(order[..., None], found.shape), found, 1)
    return np.ascontiguousarray(result.transpose(0, 2, 1))


def _errors(error: FloatArray, moments: FloatArray) -> FloatArray:
    """[groups, outputs] of weight errors [groups, n, outputs]."""
    return np.asarray(np.einsum("gno,gno->go", moments @ error, error, dtype=np.float64))


def _feedback(moments: FloatArray) -> FloatArray:
    """The strictly upper U of H = (U + I) D (U + I)^T, float32 [groups, n, n]."""
    n = moments.shape[-1]
    mean = np.einsum("gnn->g", moments)[:, None, None] / n
    # In float32: what a row of the factor is off by is small beside its own diagonal.
    damped = np.asarray(moments / np.where(mean > 0, mean, 1), np.float32)
    np.einsum("gnn->gn", damped)[...] += _DAMPING
    # Turned about both axes, a lower factor is an upper one.
    upper = np.linalg.cholesky(damped[:, ::-1, ::-1])[:, ::-1, ::-1]
    unit: FloatArray = upper / np.einsum("gnn->gn", upper)[:, None, :]
    np.einsum("gnn->gn", unit)[...] = 0
    return unit


def _compensated(
    wanted: FloatArray, scale: FloatArray, factor: FloatArray, limit: float
) -> FloatArray:
    """Row by row, each with the errors of all rows before it; all float32 [groups, n, outputs]."""
    n = wanted.shape[1]
    integers, errors = np.empty_like(wanted), np.zeros_like(wanted)
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        before = factor[:, :begin, begin:end].transpose(0, 2, 1) @ errors[:, :begin]
        for row in range(begin, end):
            inside = factor[:, None, begin:row, row] @ errors[:, begin:row]
            goal = wanted[:, row] + before[:, row - begin] + inside[:, 0]
            integers[:, row] = _limited(goal / scale[:, row], limit)
            errors[:, row] = wanted[:, row] - integers[:, row] * scale[:, row]
    return integers


def _descended(
    wanted: FloatArray, scale: FloatArray, integers: FloatArray, moments: FloatArray, limit: float
) -> FloatArray:
    """Each integer moved to where the error is smallest, the others staying as they are."""
    n = wanted.shape[1]
    diagonal = np.einsum("gnn->gn", moments)
    # What sees no input has no better place.
    weight = np.where(diagonal > 0, 1 / np.where(diagonal > 0, diagonal, 1), 0)[..., None]
    slope = moments @ (wanted - integers * scale)
    for _ in range(_SWEEPS):
        for begin in range(0, n, _BLOCK):
            end = min(begin + _BLOCK, n)
            moves = np.zeros((len(wanted), end - begin, wanted.shape[2]), np.float32)
            for row in range(begin, end):
                inside = moments[:, None, row, begin:row] @ moves[:, : row - begin]
                pull = (slope[:, row] - inside[:, 0]) * weight[:, row]
                goal = _limited(integers[:, row] + pull / scale[:, row], limit)
                moves[:, row - begin] = (goal - integers[:, row]) * scale[:, row]
                integers[:, row] = goal
            slope -= moments[:, begin:end].transpose(0, 2, 1) @ moves
    return integers


def _limited(real: FloatArray, limit: float) -> FloatArray:
    rounded: FloatArray = np.rint(real)
    return np.minimum(np.maximum(rounded, -limit, out=rounded), limit, out=rounded)
