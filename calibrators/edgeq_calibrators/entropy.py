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

# Divergences that are computed at once: arrays beyond 64 KiB can cost new memory each time.
_TOGETHER = 24
_NOTHING = 1e-15  # part of the mass that rounding alone can leave


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
    ends = np.cumsum(counts)
    edges = np.stack([histogram.edges_low, histogram.edges_high], axis=1).ravel()
    below = np.stack([ends - counts, ends], axis=1).ravel()
    grid = np.linspace(-reach, reach, 2 * bins + 1)
    cumulative = np.interp(grid, edges, below)
    # At the ends all mass of an extremum counts, even if its clipped bin has no width.
    cumulative[0], cumulative[-1] = 0.0, ends[-1]
    return np.diff(cumulative)


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
        """The threshold of the least divergence, the widest among equals."""
        widths = self.widths
        return int(widths[int(np.argmin(self(widths)))])

    def _ends(self, widths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        below, above = self._sides
        return self._bins - np.minimum(widths, below), self._bins + np.minimum(widths, above)

    def _some(self, widths: NDArray[np.int64]) -> Floats:
        starts, ends = self._ends(widths)
        total = float(self._both[-1].real)
        under = self._both.real[starts]
        over = total - self._both.real[ends]
        within = total - under - over
        first, last = self._counts[starts], self._counts[ends - 1]
        mass, occupied = self._levels_of(starts, ends)
        # The outermost bins count as occupied when the outliers were put there.
        occupied[:, 0] += (first == 0) & (under > 0)
        occupied[:, -1] += (last == 0) & (over > 0)
        own = self._entropy[ends] - self._entropy[starts]
        own += _xlogx(first + under) - _xlogx(first) + _xlogx(last + over) - _xlogx(last)
        mass[mass <= _NOTHING * total] = 0.0
        log_q = mass + (within * (EPSILON / self._levels))[:, None]
        log_q /= np.maximum(occupied, _NOTHING, out=occupied)
        np.log(np.maximum(log_q, np.finfo(np.float64).smallest_normal, out=log_q), out=log_q)
        cross = np.einsum("ij,ij->i", mass, log_q) + under * log_q[:, 0] + over * log_q[:, -1]
        with np.errstate(divide="ignore"):
            divergence = (own - cross) / total + np.log(within * (1.0 + EPSILON)) - np.log(total)
        return np.where(within > _NOTHING * total, divergence, np.inf)

    def _levels_of(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Mass and occupied bins of each level, float64 [intervals, levels]."""
        edges = np.arange(self._levels + 1) * ((ends - starts) / self._levels)[:, None]
        edges += starts[:, None]
        edges[:, -1] = ends
        bins = edges.astype(np.int64)
        edges -= bins
        below = self._each[bins]
        below *= edges
        below += self._both[bins]
        levels = below[:, 1:] - below[:, :-1]
        return levels.real.copy(), levels.imag.copy()


def _xlogx(x: Floats) -> Floats:
    return x * np.log(np.where(x > 0, x, 1.0))
