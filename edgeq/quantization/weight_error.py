"""How much of each channel of a weight its integers should cover for the least squared error.

Clipping the greatest weights makes the steps of all others finer: Choukroun et al. 2019, Low-bit
Quantization of Neural Networks for Efficient Inference, section 3.1 (arXiv:1902.06822), per kernel;
Banner et al. 2019 (arXiv:1810.05723), per channel, with a fitted density in place of the weights.
Weights are few enough to be judged themselves: every candidate is rounded and measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.types import Array

_OCTAVES = 2.0
"""How far below the greatest magnitude the search reaches; for 8 bits and normal weights the
optimum lies 0.1 to 0.3 octaves below."""

_COARSE, _FINE = (17, 65), (9, 65)
"""Candidates at least and at most, evenly over all octaves and then around the best of those."""

_ROUNDINGS = 2**27
"""Weights times candidates up to which the most candidates are judged."""

_REFITS = 2
_ROUNDS_DOWN = 0.499
"""Part of a step that is safely rounded down."""

_TOGETHER = 2**15
"""Weights that are judged at once: arrays that stay in the processor's cache."""


def least_error_magnitudes(
    rows: Array, top: int, limits: tuple[int, int], *, saturate: bool = True
) -> NDArray[np.float64]:
    """The magnitude of each row that becomes the integer ``top``.

    Never worse than the greatest magnitude, to which it falls back.

    Args:
        rows: The weights of a channel in each row, finite, [channels, weights].
        top: The integer that the magnitude stands for.
        limits: Integers at which weights saturate.
        saturate: Whether any may. Without, the search is for the rounding that suits most: no
            weight becomes a greater integer than ``top``, as types that are not used to their ends
            need it.

    Returns:
        float64 [channels]; zero for a row of zeros.
    """
    greatest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    count = max(_TOGETHER // max(rows.shape[1], 1), 1)
    share = _ROUNDINGS // max(rows.size, 1)
    coarse, fine = (int(np.clip(share // 2, *bounds)) for bounds in (_COARSE, _FINE))
    found: NDArray[np.float64] = greatest.copy()
    for k in range(0, rows.shape[0], count):
        part = slice(k, k + count)
        alive = greatest[part] > 0.0
        if alive.any():
            unit = rows[part][alive] / greatest[part][alive][:, None]
            lowest = 2.0**-_OCTAVES if saturate else top / (top + _ROUNDS_DOWN)
            best = _search(unit.astype(np.float32), top, limits, lowest, (coarse, fine))
            found[part][alive] = greatest[part][alive] * best
    return found


def _search(
    unit: NDArray[np.float32],
    top: int,
    limits: tuple[int, int],
    lowest: float,
    points: tuple[int, int],
) -> NDArray[np.float64]:
    """The best magnitude, not below ``lowest``, of rows whose greatest one is 1."""
    ones = np.ones(unit.shape[0])
    best, least = ones, _error(unit, ones, top, limits)[0]

    def look(candidates: NDArray[np.float64]) -> None:
        nonlocal best, least
        candidates = np.clip(candidates, lowest, 1.0 + _ROUNDS_DOWN / top)
        error, _ = _error(unit, candidates, top, limits)
        better = error < least
        best, least = np.where(better, candidates, best), np.where(better, error, least)

    reach = -np.log2(lowest)
    for octaves in np.linspace(0.0, -reach, points[0])[1:]:
        look(ones * 2.0**octaves)
    centre, radius = best, reach / (points[0] - 1)
    for octaves in np.linspace(-radius, radius, points[1]):
        look(centre * 2.0**octaves)
    for _ in range(_REFITS):
        look(_error(unit, best, top, limits)[1])
    return best


def _error(
    unit: NDArray[np.float32], magnitudes: NDArray[np.float64], top: int, limits: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared error of each row, and the magnitude that suits its integers best.

    With the integers q of weights w, the scale of the least error is <w, q> / <q, q>.
    """
    real = unit * (top / magnitudes)[:, None].astype(np.float32)
    integers = np.rint(real)
    np.clip(integers, *limits, out=integers)
    square = np.einsum("ij,ij->i", integers, integers).astype(np.float64)
    product = np.einsum("ij,ij->i", integers, real).astype(np.float64)
    real -= integers
    error = np.einsum("ij,ij->i", real, real).astype(np.float64) * magnitudes**2
    return error, magnitudes * product / np.maximum(square, 1.0)
