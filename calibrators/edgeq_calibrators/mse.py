"""The range of least expected squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.calibration import (
    CONTRACT,
    CalibrationContext,
    Histogram,
    StatisticKind,
    Statistics,
)
from edgeq.types import QuantSpec, TensorRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OCTAVES = 10.0
# Points per free bound of each grid. Every grid covers the two cells around the best of the one
# before: 33 points over 10 octaves, then steps of 0.08, 0.02 and 0.005 octaves.
_GRIDS = (33, 9, 9, 9)
# Points and octaves of the exact look where one bound is free, and where both are. Wide enough to
# meet the zero points that round well, and the steps that suit a peak of the distribution.
_FINAL_ONE = (25, 0.12)
_FINAL_BOTH = (5, 0.03)


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """Balances what clipping loses against what rounding loses.

    Both ends are searched for asymmetric types, one threshold for symmetric ones, over ranges
    that contain zero. A grid of ranges, each bound up to 2**10 times nearer to zero than the
    extremum, is judged by moments of the histogram and narrowed down three times; the ranges
    around the best, and the full one, are then judged by the exact error of clipping and rounding
    elements spread evenly inside each bin. So it never does worse than the extrema.
    """

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.HISTOGRAM})
    source: ClassVar[str] = (
        "Banner et al. 2019, Post training 4-bit quantization of convolutional networks for "
        "rapid-deployment (arXiv:1810.05723), with the histogram in place of a fitted density"
    )

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The range of least expected squared error.

        Raises:
            CalibrationError: No element was observed.
        """
        least, most = statistics.minimum, statistics.maximum
        if least == most:
            return TensorRange(least, most)
        histogram = statistics.histogram
        lows, highs = _search(histogram, _reach(least, most, spec), spec)
        best = int(np.argmin(expected_error(histogram, lows, highs, spec)))
        low = min(max(float(lows[best]), least), most)
        return TensorRange(low, max(min(float(highs[best]), most), low))


def expected_error(
    histogram: Histogram, lows: NDArray[np.float64], highs: NDArray[np.float64], spec: QuantSpec
) -> NDArray[np.float64]:
    """Mean squared error of quantizing to each range, the zero point rounded as it will be.

    Elements count as evenly spread inside a bin [a, b]. With n(t) the clamped integer nearest to
    t and r(t) = t - n(t), both in steps, the integral of r**2 from 0 to t is
    n(t) / 12 + r(t)**3 / 3, inside the range and beyond it.

    Args:
        histogram: Of the value.
        lows: Lower bounds, <= 0, float64 [ranges].
        highs: Upper bounds, >= 0, above ``lows``, float64 [ranges].
        spec: Integer type.

    Returns:
        float64 [ranges], in the squared unit of the value.
    """
    scale = (highs - lows) / (spec.qmax - spec.qmin)
    zero = np.clip(np.rint(spec.qmin - lows / scale), spec.qmin, spec.qmax)[:, None]
    low, high = histogram.edges_low, histogram.edges_high
    weights = histogram.counts / histogram.total
    # Below half of the smallest step every range rounds to zero: one moment serves them all.
    near = np.maximum(-low, high) <= scale.min() / 2.0
    to_zero = float((weights * _mean_square(low, high))[near].sum())
    a, b = low[~near] / scale[:, None], high[~near] / scale[:, None]
    n_a = np.clip(np.rint(a), spec.qmin - zero, spec.qmax - zero)
    n_b = np.clip(np.rint(b), spec.qmin - zero, spec.qmax - zero)
    r_a, r_b = a - n_a, b - n_b
    across = (n_b - n_a) / 12.0 + (r_b * r_b * r_b - r_a * r_a * r_a) / 3.0
    # Where both ends round alike the closed form neither cancels nor divides by the width.
    error = np.where(n_a == n_b, _mean_square(r_a, r_b), across / np.maximum(b - a, 1e-6))
    far: NDArray[np.float64] = error @ weights[~near]
    return to_zero + scale**2 * far


def _mean_square(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of t**2 over [a, b]."""
    return (a * a + a * b + b * b) / 3.0


def _reach(least: float, most: float, spec: QuantSpec) -> tuple[float, float]:
    """How far the full range reaches below and above zero."""
    below, above = max(-least, 0.0), max(most, 0.0)
    return (max(below, above),) * 2 if spec.symmetric else (below, above)


def _search(
    histogram: Histogram, reach: tuple[float, float], spec: QuantSpec
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds of the ranges worth an exact look, the full range among them."""
    moments = _Moments.of(histogram)
    centre, radius = (_OCTAVES / 2.0, _OCTAVES / 2.0), _OCTAVES / 2.0
    tied = spec.symmetric
    for points in _GRIDS:
        octaves = _octaves(centre, radius, points, reach, tied=tied)
        lows, highs = -reach[0] * 2.0 ** -octaves[0], reach[1] * 2.0 ** -octaves[1]
        best = int(np.argmin(_model(moments, lows, highs, spec)))
        centre = (float(octaves[0][best]), float(octaves[1][best]))
        radius = 2.0 * radius / (points - 1)
    points, radius = _FINAL_BOTH if min(reach) > 0.0 and not tied else _FINAL_ONE
    octaves = _octaves(centre, radius, points, reach, tied=tied)
    lows, highs = -reach[0] * 2.0 ** -octaves[0], reach[1] * 2.0 ** -octaves[1]
    return np.append(lows, -reach[0]), np.append(highs, reach[1])


def _octaves(
    centre: tuple[float, float],
    radius: float,
    points: int,
    reach: tuple[float, float],
    *,
    tied: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grid of octaves by which the lower and the upper reach shrink, float64 [ranges] each.

    A side without reach has nothing to search; ``tied`` sides shrink alike.
    """
    below, above = (
        np.clip(np.linspace(each - radius, each + radius, points), 0.0, _OCTAVES)
        if side > 0.0
        else np.zeros(1)
        for each, side in zip(centre, reach, strict=True)
    )
    if tied:
        return below, below
    pairs = np.meshgrid(below, above, indexing="ij")
    return pairs[0].ravel(), pairs[1].ravel()


@dataclass(frozen=True, eq=False, slots=True)
class _Moments:
    """Cumulative moments of the histogram at its edges, float64 [2 * bins] each."""

    edges: NDArray[np.float64]
    mass: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def of(cls, histogram: Histogram) -> _Moments:
        """Of a histogram; its counts are normalized to mass 1."""
        low, high = histogram.edges_low, histogram.edges_high
        weights = histogram.counts / histogram.total
        each = (weights, weights * (low + high) / 2.0, weights * _mean_square(low, high))
        ends = [np.cumsum(moment) for moment in each]
        cumulative = [
            np.stack([end - moment, end], axis=1).ravel()
            for end, moment in zip(ends, each, strict=True)
        ]
        return cls(np.stack([low, high], axis=1).ravel(), *cumulative)

    def below(self, x: NDArray[np.float64], moment: NDArray[np.float64]) -> NDArray[np.float64]:
        """The moment of the elements below ``x``, linear inside a bin."""
        return np.interp(x, self.edges, moment, left=0.0)


def _model(
    moments: _Moments, lows: NDArray[np.float64], highs: NDArray[np.float64], spec: QuantSpec
) -> NDArray[np.float64]:
    """Mean squared error by moments: clipping exactly, rounding as step**2 / 12.

    Within half a step of zero, where a Relu leaves much of the mass, rounding goes to zero and
    costs the square of the element instead.
    """
    step = (highs - lows) / (spec.qmax - spec.qmin)
    half = np.minimum(step / 2.0, np.maximum(-lows, highs))
    m_low, m_high, m_minus, m_plus = (
        moments.below(x, moments.mass) for x in (lows, highs, -half, half)
    )
    clipped = (
        moments.below(lows, moments.second)
        - 2.0 * lows * moments.below(lows, moments.first)
        + lows**2 * m_low
        + (moments.second[-1] - moments.below(highs, moments.second))
        - 2.0 * highs * (moments.first[-1] - moments.below(highs, moments.first))
        + highs**2 * (moments.mass[-1] - m_high)
    )
    to_zero = moments.below(half, moments.second) - moments.below(-half, moments.second)
    rounded = (m_high - m_low) - (m_plus - m_minus)
    error: NDArray[np.float64] = clipped + to_zero + rounded * step**2 / 12.0
    return error
