"""The range of least expected squared error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, TypeAlias

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

    Floats: TypeAlias = NDArray[np.float64]

_OCTAVES = 10.0
# Points per free bound of each grid. Every grid covers the two cells around the best of the one
# before: 25 points over 10 octaves, then steps of 0.1 and 0.03 octaves.
_GRIDS = (25, 9, 9)
# Points and octaves of the exact look at steps around the best, the zero point kept: 0.35 % apart,
# so that a peak 128 steps from zero meets an integer; wide enough for one 8 steps from it.
_FINAL = (81, 0.2)
# The same where each number is known by itself, which may have a grid of their own; and with the
# zero points beside the best.
_FINAL_EXACT = (201, 0.5)
# Octaves to each side, and points, of further looks where each number is known by itself.
_FINER = (0.005, 0.0007, 0.0001)
_FINER_POINTS = 17
# Steps from zero up to which the grid of integers is looked at: all of them for 8 bits. (Values on
# a grid of their own, as pixels are, lose 0.3 dB otherwise.) Farther out rounding errs by
# step**2 / 12 whatever the grid.
_NEAR = 256.0
# Parts of the least step: what lies in one of them is rounded together. No whole number, so that
# the phases of their centres differ from step to step.
_CELLS = 8.618
_HALVES = 256  # points of the table of what rounds to zero
_TOGETHER = 2**14  # cells times ranges that are judged at once


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """Balances what clipping loses against what rounding loses.

    Both ends are searched for asymmetric types, one threshold for symmetric ones, over ranges
    that contain zero. A grid of ranges, each bound up to 2**10 times nearer to zero than the
    extremum, is judged by moments of the histogram and narrowed down twice; steps around that of
    the best, and the full range, are then judged by clipping and rounding what is there: peaks of
    a distribution, as a constant background makes, favour steps of which they are multiples.
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
        distribution = statistics.distribution
        moments, exact = _Moments.of(distribution), _has_points(distribution)
        lows, highs = _search(moments, _reach(least, most, spec), spec, exact=exact)
        error = _expected_error(moments, lows, highs, spec)
        for width in _FINER if exact else ():
            # Between numbers that are known: a grid of them may be met exactly.
            k = int(np.argmin(error))
            factors = 2.0 ** (width * _evenly(_FINER_POINTS))
            below, above = _reach(least, most, spec)
            lows = np.append(np.maximum(lows[k] * factors, -below), lows[k])
            highs = np.append(np.minimum(highs[k] * factors, above), highs[k])
            error = _expected_error(moments, lows, highs, spec)
        best = int(np.argmin(error))
        low = min(max(float(lows[best]), least), most)
        return TensorRange(low, max(min(float(highs[best]), most), low))


def _has_points(distribution: Histogram) -> bool:
    return distribution.edges_low is distribution.edges_high


def expected_error(histogram: Histogram, lows: Floats, highs: Floats, spec: QuantSpec) -> Floats:
    """Mean squared error of quantizing to each range, the zero point rounded as it will be.

    Elements count as evenly spread inside a bin, and as rounded together within an eighth of a
    step. More than :data:`_NEAR` steps from zero rounding counts as step**2 / 12, and clipping
    follows from moments.

    Args:
        histogram: Of the value.
        lows: Lower bounds, <= 0, float64 [ranges].
        highs: Upper bounds, >= 0, above ``lows``, float64 [ranges].
        spec: Integer type.

    Returns:
        float64 [ranges], in the squared unit of the value.
    """
    return _expected_error(_Moments.of(histogram), lows, highs, spec)


def _expected_error(moments: _Moments, lows: Floats, highs: Floats, spec: QuantSpec) -> Floats:
    scale = (highs - lows) / (spec.qmax - spec.qmin)
    zero = np.clip(np.rint(spec.qmin - lows / scale), spec.qmin, spec.qmax)
    least, most = spec.qmin - zero, spec.qmax - zero
    near = moments.near(lows, highs, scale)
    error = np.empty(scale.size)
    # A few ranges at once: arrays beyond 128 KiB are mapped anew each time, which costs more.
    rows = max(_TOGETHER // max(near.centres.size, 1), 1)
    for part in (slice(k, k + rows) for k in range(0, scale.size, rows)):
        error[part] = near.error(scale[part], least[part], most[part])
    low, high = least * scale, most * scale
    below, above = np.minimum(low, near.low), np.maximum(high, near.high)
    rounded = moments.mass_below(above) - moments.mass_below(below) - near.mass
    return np.asarray(
        error
        + rounded * scale**2 / 12.0
        + moments.clipped_below(below, low)
        + moments.clipped_above(above, high)
    )


def _mean_square(a: Floats, b: Floats) -> Floats:
    """Mean of t**2 over [a, b]."""
    return (a * a + a * b + b * b) / 3.0


def _reach(least: float, most: float, spec: QuantSpec) -> tuple[float, float]:
    """How far the full range reaches below and above zero."""
    below, above = max(-least, 0.0), max(most, 0.0)
    return (max(below, above),) * 2 if spec.symmetric else (below, above)


def _search(
    moments: _Moments, reach: tuple[float, float], spec: QuantSpec, *, exact: bool
) -> tuple[Floats, Floats]:
    """Lower and upper bounds of the ranges worth an exact look, the full range among them."""
    model = _Model(moments, reach, spec)
    centre, radius = (_OCTAVES / 2.0, _OCTAVES / 2.0), _OCTAVES / 2.0
    tied = spec.symmetric
    for points in _GRIDS:
        below, above = _octaves(centre, radius, points, reach, tied=tied)
        error = model(-reach[0] * 2.0**-below, reach[1] * 2.0**-above)
        best = np.unravel_index(int(np.argmin(error)), error.shape)
        centre = (float(below[best[0], 0]), float(above[0 if not tied else best[0], best[1]]))
        radius = 2.0 * radius / (points - 1)
    low, high = -reach[0] * 2.0 ** -centre[0], reach[1] * 2.0 ** -centre[1]
    scale = (high - low) / (spec.qmax - spec.qmin)
    zero = min(max(np.rint(spec.qmin - low / scale), spec.qmin), spec.qmax)
    points, radius = _FINAL_EXACT if exact else _FINAL
    scales = scale * 2.0 ** (radius * _evenly(points))
    beside = np.array([-1.0, 0.0, 1.0] if exact and not tied else [0.0])
    zeros = np.clip(zero + beside, spec.qmin, spec.qmax)[:, None]
    lows = np.maximum(scales * (spec.qmin - zeros), -reach[0]).ravel()
    highs = np.minimum(scales * (spec.qmax - zeros), reach[1]).ravel()
    # One that ends at zero on both sides is none.
    some = lows < highs
    return np.append(lows[some], -reach[0]), np.append(highs[some], reach[1])


def _octaves(
    centre: tuple[float, float],
    radius: float,
    points: int,
    reach: tuple[float, float],
    *,
    tied: bool,
) -> tuple[Floats, Floats]:
    """Octaves by which the lower and the upper reach shrink, float64 [lows, 1] and [1, highs].

    A side without reach has nothing to search; ``tied`` sides shrink alike, both [ranges, 1].
    """
    below, above = (
        np.minimum(np.maximum(each + radius * _evenly(points), 0.0), _OCTAVES)
        if side > 0.0
        else np.zeros(1)
        for each, side in zip(centre, reach, strict=True)
    )
    return below[:, None], below[:, None] if tied else above[None, :]


@lru_cache
def _evenly(points: int) -> Floats:
    return np.linspace(-1.0, 1.0, points)


class _Model:
    """Mean squared error by moments: clipping exactly, rounding as step**2 / 12.

    Within half a step of zero, where a Relu leaves much of the mass, rounding goes to zero and
    costs the square of the element instead. That part depends on the step alone, and comes out of
    a table.
    """

    def __init__(self, moments: _Moments, reach: tuple[float, float], spec: QuantSpec) -> None:
        self._moments = moments
        self._levels = spec.qmax - spec.qmin
        most = sum(reach) / self._levels / 2.0
        self._halves = most * 2.0 ** ((_evenly(_HALVES) - 1.0) * (_OCTAVES + 1.0) / 2.0)
        ends = np.concatenate([-self._halves, self._halves])
        mass, second = moments.mass_below(ends), moments.second_below(ends)
        self._mass = mass[_HALVES:] - mass[:_HALVES]
        self._second = second[_HALVES:] - second[:_HALVES]

    def __call__(self, lows: Floats, highs: Floats) -> Floats:
        """Error of each range; the bounds broadcast against each other."""
        moments = self._moments
        step = (highs - lows) / self._levels
        half = np.minimum(step / 2.0, np.maximum(-lows, highs))
        inside = moments.mass_below(highs) - moments.mass_below(lows)
        rounded = inside - np.interp(half, self._halves, self._mass)
        return np.asarray(
            moments.clipped_below(lows, lows)
            + moments.clipped_above(highs, highs)
            + np.interp(half, self._halves, self._second)
            + rounded * step**2 / 12.0
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Near:
    """The part of a histogram in which the grid of integers matters, cut into narrow cells.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        mass: Of all of it.
        spread: Sum of the squared distances to the centres of the cells that round to zero.
        centres: Means of the cells that are not empty, float32 [cells].
        weights: Their masses, float32 [cells].
    """

    low: float
    high: float
    mass: float
    spread: float
    centres: NDArray[np.float32]
    weights: NDArray[np.float32]

    def error(self, scale: Floats, least: Floats, most: Floats) -> Floats:
        """Sum of the squared errors of these cells, for scales and clamps of integers."""
        # Of steps near the least float32 the inverse is none.
        inverse = np.minimum(1.0 / scale, np.finfo(np.float32).max).astype(np.float32)
        t = self.centres * inverse[:, None]
        n = np.rint(t)
        np.minimum(n, most.astype(np.float32)[:, None], out=n)
        np.maximum(n, least.astype(np.float32)[:, None], out=n)
        t -= n
        t *= t
        squares: Floats = (t @ self.weights).astype(np.float64)
        return squares * scale**2 + self.spread


@dataclass(frozen=True, eq=False, slots=True)
class _Moments:
    """A histogram of mass 1 and its cumulative moments at the edges, float64 [2 * bins] each."""

    edges: Floats
    mass: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, histogram: Histogram) -> _Moments:
        """Of a histogram; its counts are normalized to mass 1."""
        low, high = histogram.edges_low, histogram.edges_high
        weights = histogram.counts / histogram.total
        edges = _interleaved(low, high)
        each = (weights, weights * (low + high) / 2.0, weights * _mean_square(low, high))
        ends = [np.cumsum(moment) for moment in each]
        mass, first, second = (
            _interleaved(end - moment, end) for end, moment in zip(ends, each, strict=True)
        )
        return cls(edges, mass, first, second)

    def mass_below(self, x: Floats) -> Floats:
        """Mass of the elements below ``x``, linear inside a bin; likewise the other moments."""
        return np.interp(x, self.edges, self.mass, left=0.0)

    def second_below(self, x: Floats) -> Floats:
        return np.interp(x, self.edges, self.second, left=0.0)

    def clipped_below(self, x: Floats, bound: Floats) -> Floats:
        """Integral of (t - bound)**2 over the elements t below ``x``."""
        first = np.interp(x, self.edges, self.first, left=0.0)
        error: Floats = (
            self.second_below(x) - 2.0 * bound * first + bound * bound * self.mass_below(x)
        )
        return error

    def clipped_above(self, x: Floats, bound: Floats) -> Floats:
        """Integral of (t - bound)**2 over the elements t above ``x``."""
        first = self.first[-1] - np.interp(x, self.edges, self.first, left=0.0)
        second = self.second[-1] - self.second_below(x)
        error: Floats = second - 2.0 * bound * first
        error += bound * bound * (self.mass[-1] - self.mass_below(x))
        return error

    def near(self, lows: Floats, highs: Floats, scales: Floats) -> _Near:
        """What lies within all of these ranges together, to :data:`_NEAR` steps from zero."""
        # The full range, which comes last, may be far from the others: then there is nothing to
        # tell apart.
        some = slice(max(scales.size - 1, 1))
        step = float(scales[some].min())
        reach = _NEAR * step
        low = max(float(lows[some].min()), -reach) - step / 2.0
        high = min(float(highs[some].max()), reach) + step / 2.0
        grid = np.linspace(low, high, int((high - low) / step * _CELLS) + 2)
        # Evenly spread in a bin, mass grows with x, its moments with powers of x.
        mass, first, second = (
            np.diff(np.interp(_power(grid, k + 1), _power(self.edges, k + 1), moment, left=0.0))
            for k, moment in enumerate((self.mass, self.first, self.second))
        )
        full = mass > 0.0
        mass = mass[full]
        centres = np.clip(first[full] / mass, grid[:-1][full], grid[1:][full])
        # What is spread in a cell that rounds to zero is lost. In others a centre of random phase
        # errs as much on average as elements of random phases.
        lost = np.abs(centres) < step / 2.0
        spread = float(np.dot(lost, second[full] - mass * centres * centres))
        within = float(mass.sum())
        return _Near(low, high, within, spread, centres.astype(np.float32), mass.astype(np.float32))


def _power(x: Floats, exponent: int) -> Floats:
    """That power of the magnitude, with the sign of ``x``: ascending where ``x`` is."""
    magnitude: Floats = np.abs(x) ** (exponent - 1)
    return magnitude * x


def _interleaved(a: Floats, b: Floats) -> Floats:
    return np.stack([a, b], axis=1).ravel()
