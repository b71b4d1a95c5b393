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

# Thresholds 0.4 % of the reach apart: nearer ones cannot be told apart by bins 0.4 to 0.8 % wide.
_CANDIDATES = 256


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
        starts, ends, widths = _intervals(
            least / reach, most / reach, self.bins, levels, symmetric=spec.symmetric
        )
        if not starts.size or not counts.any():
            return TensorRange(least, most)
        best = int(np.argmin(_divergence(counts, starts, ends, levels)))
        # The centre of the outermost bin, as published; the full range stays the full range.
        threshold = reach if best == 0 else reach * (float(widths[best]) - 0.5) / self.bins
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


def _intervals(
    least: float, most: float, bins: int, levels: int, *, symmetric: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Candidate intervals, the widest first: first bin, bin past the last, bins from zero.

    Args:
        least: Minimum in units of the greatest magnitude.
        most: Maximum, likewise.
        bins: Bins on one side of zero.
        levels: Quantization levels; an interval has at least as many bins.
        symmetric: Both sides reach equally far whatever was observed.
    """
    step = -(-bins // _CANDIDATES)
    widths = np.arange(bins, 0, -step, dtype=np.int64)
    below = bins if symmetric else int(np.ceil(-min(least, 0.0) * bins))
    above = bins if symmetric else int(np.ceil(max(most, 0.0) * bins))
    starts, ends = bins - np.minimum(widths, below), bins + np.minimum(widths, above)
    enough = ends - starts >= levels
    return starts[enough], ends[enough], widths[enough]


def _divergence(
    counts: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """KL(P, Q) in nats for each interval, float64 [intervals]; infinite where Q misses mass of P.

    Q is constant over a level, so sums over bins reduce to differences of cumulative sums at the
    levels' edges: [intervals, levels] numbers instead of [intervals, bins].
    """
    below = np.concatenate([[0.0], np.cumsum(counts)])
    occupied = np.concatenate([[0], np.cumsum(counts > 0)])
    entropy = np.concatenate([[0.0], np.cumsum(_xlogx(counts))])
    under, over = below[starts], below[-1] - below[ends]
    first, last = counts[starts], counts[ends - 1]
    edges = starts[:, None] - (-(np.arange(levels + 1) * (ends - starts)[:, None]) // levels)
    mass = np.diff(below[edges], axis=1)
    spread = np.diff(occupied[edges], axis=1)
    # The outermost bins count as occupied when the outliers were put there.
    spread[:, 0] += (first == 0) & (under > 0)
    spread[:, -1] += (last == 0) & (over > 0)
    own = entropy[ends] - entropy[starts]
    own += _xlogx(first + under) - _xlogx(first) + _xlogx(last + over) - _xlogx(last)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_q = np.log(mass / np.maximum(spread, 1))
        cross = np.where(mass > 0, mass * log_q, 0.0).sum(axis=1)
        cross += np.where(under > 0, under * log_q[:, 0], 0.0)
        cross += np.where(over > 0, over * log_q[:, -1], 0.0)
        inside = np.log(below[ends] - below[starts])
        divergence = (own - cross) / below[-1] - np.log(below[-1]) + inside
    return np.where(np.isfinite(divergence), divergence, np.inf)


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1.0))
