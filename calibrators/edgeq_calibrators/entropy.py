"""The range that keeps most of the information: least Kullback-Leibler divergence."""

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
from edgeq.errors import RecipeError
from edgeq.types import QuantSpec, TensorRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Thresholds of the first look, and by which part of their distance each further look, at both
# sides of the best so many, gets nearer.
_CANDIDATES = 72
_BEST = (4, 3, 2)
_NEARER = 4
# Divergences that are computed at once: arrays beyond 64 KiB can cost new memory each time.
_TOGETHER = 24
_NOTHING = 1e-15  # part of the mass that rounding alone can leave


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """Clips where the quantized distribution tells least apart from the original one.

    For each threshold, P is the distribution of the elements within it, with the mass of those
    beyond it added to its outermost bins; Q is the distribution within it alone, averaged over
    the quantization levels, each level's mass spread over those of its bins that P occupies. The
    threshold with the least KL(P, Q) wins, the widest among equals.

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
        "after onnxruntime and MXNet, zeros left out after NVIDIA's pytorch-quantization"
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
        levels = self.levels or spec.qmax - spec.qmin + 1
        counts = _linear(statistics.histogram, reach, self.bins)
        sides = _sides(least / reach, most / reach, self.bins, symmetric=spec.symmetric)
        if not counts.any() or sum(sides) < levels:
            return TensorRange(least, most)
        best = _search(_Divergence(counts, levels), sides, self.bins)
        # The centre of the outermost bin, as published; the full range stays the full range.
        threshold = reach if best == self.bins else reach * (best - 0.5) / self.bins
        low, high = max(least, -threshold), min(most, threshold)
        return TensorRange(low, high) if low <= high else TensorRange(least, most)


def _linear(histogram: Histogram, reach: float, bins: int) -> NDArray[np.float64]:
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


def _search(divergence: _Divergence, sides: tuple[int, int], bins: int) -> int:
    """Bins from zero to the threshold of the least divergence, the widest among equals.

    First thresholds 2 % of the reach apart, then between the best of them and their neighbours.
    """

    def look(widths: NDArray[np.int64]) -> None:
        starts, ends = bins - np.minimum(widths, sides[0]), bins + np.minimum(widths, sides[1])
        enough = ends - starts >= divergence.levels
        found = divergence(starts[enough], ends[enough])
        known.update(zip(widths[enough].tolist(), found.tolist(), strict=True))

    known: dict[int, float] = {}
    step = -(-bins // _CANDIDATES)
    look(np.arange(bins, 0, -step, dtype=np.int64))
    for best in _BEST:
        if step == 1:
            break
        leading = sorted(known, key=lambda width: (known[width], -width))[:best]
        nearer = -(-step // _NEARER)
        around = {w + d for w in leading for d in range(nearer - step, step, nearer)}
        step = nearer
        look(np.array([w for w in around - known.keys() if 0 < w <= bins], np.int64))
    return min(known, key=lambda width: (known[width], -width))


class _Divergence:
    """KL(P, Q) of a distribution, for intervals of its bins.

    Q is constant over a level, so sums over bins reduce to differences of cumulative sums at the
    levels' edges: [intervals, levels] numbers instead of [intervals, bins]. Levels are equally
    wide; one that ends inside a bin takes its part of it. (Levels of whole bins, some wider than
    others, make the divergence jump from one threshold to the next.)

    Args:
        counts: Of each bin, float64 [bins].
        levels: Quantization levels; an interval has at least as many bins.
    """

    def __init__(self, counts: NDArray[np.float64], levels: int) -> None:
        self.levels = levels
        self._counts = counts
        self._below = np.concatenate([[0.0], np.cumsum(counts)])
        self._entropy = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
        # Mass as the real part, occupied bins as the imaginary one: looked up at once.
        self._each = np.append(counts + 1j * (counts > 0), 0.0)
        self._both = np.concatenate([[0.0], np.cumsum(self._each[:-1])])

    def __call__(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """KL(P, Q) in nats for each interval, float64 [intervals]; infinite where Q misses mass.

        Args:
            starts: First bin of each interval.
            ends: The bin past its last.
        """
        parts = range(0, starts.size, _TOGETHER)
        found = [self._some(starts[k : k + _TOGETHER], ends[k : k + _TOGETHER]) for k in parts]
        return np.concatenate([np.zeros(0), *found])

    def _some(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        below, total = self._below, self._below[-1]
        under, over = below[starts], total - below[ends]
        first, last = self._counts[starts], self._counts[ends - 1]
        mass, spread = self._levels(starts, ends)
        # The outermost bins count as occupied when the outliers were put there.
        spread[:, 0] += (first == 0) & (under > 0)
        spread[:, -1] += (last == 0) & (over > 0)
        own = self._entropy[ends] - self._entropy[starts]
        own += _xlogx(first + under) - _xlogx(first) + _xlogx(last + over) - _xlogx(last)
        empty = mass <= _NOTHING * total
        mass[empty] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            log_q = np.log(mass / spread)
            cross = np.where(under > 0, under * log_q[:, 0], 0.0)
            cross += np.where(over > 0, over * log_q[:, -1], 0.0)
            log_q[empty] = 0.0
            cross += np.einsum("ij,ij->i", mass, log_q)
            inside = np.log(below[ends] - below[starts])
            divergence = (own - cross) / total - np.log(total) + inside
        return np.where(np.isfinite(divergence), divergence, np.inf)

    def _levels(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mass and occupied bins of each level, float64 [intervals, levels]."""
        edges = np.arange(self.levels + 1) * ((ends - starts) / self.levels)[:, None]
        edges += starts[:, None]
        edges[:, -1] = ends
        bins = edges.astype(np.int64)
        edges -= bins
        below = self._each[bins]
        below *= edges
        below += self._both[bins]
        levels = below[:, 1:] - below[:, :-1]
        return levels.real.copy(), levels.imag.copy()


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1.0))
