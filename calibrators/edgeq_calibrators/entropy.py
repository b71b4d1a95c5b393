"""The range that keeps most of the information: least Kullback-Leibler divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from edgeq.calibration import (
    CONTRACT,
    CalibrationContext,
    Histogram,
    StatisticKind,
    Statistics,
)
from edgeq.errors import RecipeError
from edgeq.types import QuantSpec, TensorRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

EPSILON = 1e-4
"""Part of Q's mass that is spread over all levels alike, so that none is empty. P has mass in the
outermost ones wherever there are outliers; were Q empty there, the divergence would be infinite
however few they are. The part, though not the way of spreading it, is that of MXNet
(``_smooth_distribution``) and onnxruntime (``smooth_distribution`` in calibrate.py)."""

_THRESHOLDS = 128
"""Evenly spaced thresholds that are judged, all of them: 0.8 % of the reach apart, as the bins of
the statistics are wide there, which do not tell more of them apart."""

_PARTS = 16
"""Parts of an octave inside of which the density counts as constant, up to 6 % of the value wide.
A level averages over finer ones, and that the noise of samples goes by it is a divergence, too: it
decided between thresholds that were equal otherwise."""

_FAR = 2**16  # beyond all exponents of float64, times the parts

# Divergences that are computed at once: arrays beyond 64 KiB can cost new memory each time.
_TOGETHER = 24
_NOTHING = 1e-15  # part of the mass that rounding alone can leave
_ROUNDING = 1e-9  # nats that rounding can leave
_TINY = np.finfo(np.float64).smallest_normal


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Clips where the quantized distribution tells least apart from the original one.

    For each threshold, P is the distribution of the elements within it, with the mass of those
    beyond it added to its outermost bins; Q is the distribution within it alone, averaged over
    the quantization levels, each level's mass spread over those of its bins that P occupies, and
    smoothed (:data:`EPSILON`). The threshold with the least KL(P, Q) wins, the widest among equals.

    Where this goes beyond the published method: signed values use bins on both sides of zero and
    the threshold shrinks both alike (a side that ends earlier stays at its extremum); exact
    zeros are left out, because quantization keeps them exact and the peak that a Relu leaves
    would outweigh everything else; the logarithmic bins of the statistics are spread evenly over
    linear ones, which suits types of up to 8 bits (with more levels than bins there is nothing
    to lose, and the extrema are returned).

    Args:
        bins: Linear bins between zero and the greatest magnitude.
        levels: Quantization levels over the range; 0 takes the spec's own number.
    """

    bins: int = 2048
    levels: int = 0

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.HISTOGRAM})
    source: ClassVar[str] = (
        "Migacz 2017, 8-bit Inference with TensorRT (NVIDIA GTC 2017, S7310); signed values "
        "and smoothing after onnxruntime and MXNet, zeros left out after NVIDIA's "
        "pytorch-quantization"
    )

    def __post_init__(self) -> None:
        if not 16 <= self.bins <= 2**16:
            raise RecipeError(f"bins must be in [16, 65536], not {self.bins}")
        if self.levels and not 2 <= self.levels <= 2**16:
            raise RecipeError(f"levels must be 0 or in [2, 65536], not {self.levels}")

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The range of least divergence.

        Raises:
            CalibrationError: No element was observed.
        """
        least, most = statistics.minimum, statistics.maximum
        if least == most:
            return TensorRange(least, most)
        reach = max(-least, most)
        divergence = Divergence.of(statistics.histogram, spec, self.bins, self.levels)
        if divergence is None:
            return TensorRange(least, most)
        best = divergence.search()
        # The centre of the outermost bin, as published; the full range stays the full range.
        threshold = reach if best == self.bins else reach * (best - 0.5) / self.bins
        low, high = max(least, -threshold), min(most, threshold)
        return TensorRange(low, high) if low <= high else TensorRange(least, most)


def _linear(histogram: Histogram, reach: float, bins: int) -> Floats:
    """Counts over ``2 * bins`` equal bins of [-reach, reach], float64; exact zeros left out."""
    counts = histogram.counts.astype(np.float64)
    counts[(histogram.edges_low <= 0.0) & (histogram.edges_high >= 0.0)] = 0.0
    starts = _density_bins(histogram)
    counts = np.add.reduceat(counts, starts)
    low = histogram.edges_low[starts]
    high = histogram.edges_high[np.append(starts[1:], histogram.edges_high.size) - 1]
    ends = np.cumsum(counts)
    edges = np.stack([low, high], axis=1).ravel()
    below = np.stack([ends - counts, ends], axis=1).ravel()
    grid = np.linspace(-reach, reach, 2 * bins + 1)
    cumulative = np.interp(grid, edges, below)
    # At the ends all mass of an extremum counts, even if its clipped bin has no width.
    cumulative[0], cumulative[-1] = 0.0, ends[-1]
    return np.diff(cumulative)


def _density_bins(histogram: Histogram) -> NDArray[np.int64]:
    """The first bins of those that lie in one part of an octave, ascending (:data:`_PARTS`)."""
    middles = (histogram.edges_low + histogram.edges_high) / 2.0
    mantissa, exponent = np.frexp(np.abs(middles))
    part = exponent * _PARTS + (2.0 * mantissa * _PARTS).astype(np.int64) % _PARTS
    part = np.where(middles < 0.0, -1, 1) * (part + _FAR)
    part[middles == 0.0] = 0
    return np.flatnonzero(np.diff(part, prepend=part[0] - 1))


def _sides(least: float, most: float, bins: int, *, symmetric: bool) -> tuple[int, int]:
    """Bins below and above zero that the widest interval takes.

    Args:
        least: Minimum in units of the greatest magnitude.
        most: Maximum, likewise.
        bins: Bins on one side of zero.
        symmetric: Both sides reach equally far whatever was observed.
    """
    if symmetric:
        return bins, bins
    return int(np.ceil(-min(least, 0.0) * bins)), int(np.ceil(max(most, 0.0) * bins))


class Divergence:
    """KL(P, Q) for each threshold: the objective, with which benchmarks judge, too.

    P is what lies within, and at its outermost bins what lies beyond. Q is what lies within alone,
    constant over each of equally wide levels (one that ends inside a bin takes its part of it)
    where P is not zero: of a level's mass m, of all mass M within and of L levels each gets
    (m + EPSILON M / L) / (1 + EPSILON).

    So sums over bins reduce to differences of cumulative sums at the levels' edges: [thresholds,
    levels] numbers instead of [thresholds, bins].

    Args:
        counts: Of each bin, float64 [2 * bins], zero in the middle.
        sides: Bins below and above zero that the widest interval takes.
        levels: Quantization levels; an interval has at least as many bins.
    """

    def __init__(self, counts: Floats, sides: tuple[int, int], levels: int) -> None:
        self._bins, self._sides, self._levels = counts.size // 2, sides, levels
        self._counts = np.append(counts, 0.0)
        # Mass as the real part, occupied bins as the imaginary one: looked up at once.
        self._each = self._counts + 1j * (self._counts > 0)
        self._both = np.concatenate([[0.0], np.cumsum(self._each[:-1])])
        self._entropy = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
        self._total = float(self._both[-1].real)

    @classmethod
    def of(
        cls, histogram: Histogram, spec: QuantSpec, bins: int = 2048, levels: int = 0
    ) -> Divergence | None:
        """That of a distribution; None where there is nothing to clip.

        The distribution is that of the histogram, elements evenly spread inside its bins: a density
        of more detail would be noise where elements are few, and the bins' divergence that of
        which of them happen to be empty.

        Args:
            histogram: Of more than one number.
            spec: Integer type.
            bins: Linear bins between zero and the greatest magnitude.
            levels: Quantization levels; 0 takes the spec's own number.
        """
        least, most = float(histogram.edges_low[0]), float(histogram.edges_high[-1])
        reach, levels = max(-least, most), levels or spec.qmax - spec.qmin + 1
        counts = _linear(histogram, reach, bins)
        sides = _sides(least / reach, most / reach, bins, symmetric=spec.symmetric)
        if not counts.any() or sum(sides) < levels:
            return None
        return cls(counts, sides, levels)

    @property
    def widths(self) -> NDArray[np.int64]:
        """The thresholds there are, in bins from zero, descending."""
        step = max(self._bins // _THRESHOLDS, 1)
        widths = np.arange(self._bins, 0, -step, dtype=np.int64)
        starts, ends = self._ends(widths)
        return widths[ends - starts >= self._levels]

    def __call__(self, widths: NDArray[np.int64]) -> Floats:
        """KL(P, Q) in nats for each threshold, float64 [widths]; infinite where nothing is within.

        Args:
            widths: Thresholds in bins from zero, each with as many bins within as there are levels.
        """
        parts = (widths[k : k + _TOGETHER] for k in range(0, widths.size, _TOGETHER))
        return np.concatenate([np.zeros(0), *map(self._some, parts)])

    def search(self) -> int:
        """The threshold of the least divergence, the widest among equals.

        In the order of :meth:`floors`, until no other threshold can be better: exact, and most
        narrow ones are never computed.
        """
        widths = self.widths
        floors = self.floors(widths)
        order = np.argsort(floors, kind="stable")
        found = np.full(widths.size, np.inf)
        for k in range(0, order.size, _TOGETHER):
            some = order[k : k + _TOGETHER]
            if floors[some[0]] > found.min():
                break
            found[some] = self._some(widths[some])
        return int(widths[int(np.argmin(found))])

    def floors(self, widths: NDArray[np.int64]) -> Floats:
        """What the divergence of each threshold cannot be below, float64 [widths].

        By the outermost bins and the rest: KL of sums is no more than KL of what was summed (the
        log sum inequality; Cover and Thomas, "Elements of Information Theory", 2.7). What lies
        beyond a narrow threshold outweighs its outermost bins by far, which few sums show.
        """
        cut = self._cut(widths)
        ends = np.array([0, 1, self._levels - 1, self._levels])
        outer = self._levels_between(cut, ends)
        occupied = cut.occupied(outer.imag[:, [0, 2]])
        q = self._smoothed(cut, outer.real[:, [0, 2]]) / np.maximum(occupied, _NOTHING)
        p = np.stack([cut.first + cut.under, cut.last + cut.over], axis=1) / self._total
        q[p == 0.0] = 0.0  # nothing of Q is in bins that P leaves empty
        p, q = (np.append(each, 1.0 - each.sum(axis=1, keepdims=True), axis=1) for each in (p, q))
        p, q = np.maximum(p, 0.0), np.maximum(q, _NOTHING)
        floors = (_xlogx(p) - p * np.log(q)).sum(axis=1) - _ROUNDING
        return np.where(cut.within > _NOTHING * self._total, floors, np.inf)

    def _some(self, widths: NDArray[np.int64]) -> Floats:
        cut = self._cut(widths)
        levels = self._levels_between(cut, np.arange(self._levels + 1))
        mass, occupied = levels.real.copy(), levels.imag.copy()
        occupied[:, [0, -1]] = cut.occupied(occupied[:, [0, -1]])
        mass[mass <= _NOTHING * self._total] = 0.0
        log_q = self._smoothed(cut, mass)
        log_q /= np.maximum(occupied, _NOTHING, out=occupied)
        np.log(np.maximum(log_q, _TINY, out=log_q), out=log_q)
        own = self._entropy[cut.ends] - self._entropy[cut.starts]
        own += _xlogx(cut.first + cut.under) - _xlogx(cut.first)
        own += _xlogx(cut.last + cut.over) - _xlogx(cut.last)
        cross = np.einsum("ij,ij->i", mass, log_q)
        cross += cut.under * log_q[:, 0] + cut.over * log_q[:, -1]
        divergence = (own - cross) / self._total - np.log(self._total)
        return np.where(cut.within > _NOTHING * self._total, divergence, np.inf)

    def _cut(self, widths: NDArray[np.int64]) -> _Cut:
        starts, ends = self._ends(widths)
        under, over = self._both.real[starts], self._total - self._both.real[ends]
        within = self._total - under - over
        first, last = self._counts[starts], self._counts[ends - 1]
        return _Cut(starts, ends, under, over, within, first, last)

    def _smoothed(self, cut: _Cut, mass: Floats) -> Floats:
        """Q's share of levels of this mass, float64 [intervals, levels]."""
        within = np.maximum(cut.within, _NOTHING * self._total)[:, None]
        return (mass / within + EPSILON / self._levels) / (1.0 + EPSILON)

    def _levels_between(self, cut: _Cut, edges: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Between neighbours of these edges of levels: mass, and occupied bins as imaginary part.

        Args:
            cut: The intervals.
            edges: Numbers of edges, ascending from 0 to the number of levels.

        Returns:
            complex128 [intervals, edges - 1].
        """
        places = edges * ((cut.ends - cut.starts) / self._levels)[:, None]
        places += cut.starts[:, None]
        places[:, -1] = cut.ends
        bins = places.astype(np.int64)
        places -= bins
        below = self._each[bins]
        below *= places
        below += self._both[bins]
        return np.asarray(below[:, 1:] - below[:, :-1])

    def _ends(self, widths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        below, above = self._sides
        return self._bins - np.minimum(widths, below), self._bins + np.minimum(widths, above)


@dataclass(frozen=True, eq=False, slots=True)
class _Cut:
    """Intervals of bins, and what lies beyond them; arrays [intervals].

    Attributes:
        starts: First bin.
        ends: Bin behind the last.
        under: Mass below.
        over: Mass above.
        within: Mass inside.
        first: Mass of the first bin.
        last: Mass of the last bin.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    under: Floats
    over: Floats
    within: Floats
    first: Floats
    last: Floats

    def occupied(self, bins: Floats) -> Floats:
        """Occupied bins of the outermost levels: with those that only outliers were put into.

        Args:
            bins: Those that are occupied without, float64 [intervals, 2].
        """
        more = [(self.first == 0) & (self.under > 0), (self.last == 0) & (self.over > 0)]
        return np.asarray(bins + np.stack(more, axis=1))


def _xlogx(x: Floats) -> Floats:
    return x * np.log(np.where(x > 0, x, 1.0))
