"""The range between two percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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

# 100 comes first: of equals the first wins, and nothing is cut for nothing.
_LEVELS = (100.0, 99.9999, 99.999, 99.99, 99.9, 99.0)


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """Cuts the rarest elements off, each tail by itself.

    At level 99.99 at most 0.01 % of the elements lie below the range and at most 0.01 % above.
    A tail never loses all of its elements: where the cut would leave only zeros of a sparse
    value, or a single number, that side keeps its extremum.

    Args:
        level: Percent of the elements that each bound of the range leaves on its inner side,
            50 < level <= 100; or 0: for each value the one of 99, 99.9, 99.99, 99.999, 99.9999
            and 100 with the least expected squared error of clipping and rounding.
    """

    level: float = 99.99

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.HISTOGRAM})
    source: ClassVar[str] = (
        "Wu et al. 2020, Integer Quantization for Deep Learning Inference: Principles and "
        "Empirical Evaluation, section 5.2 (arXiv:2004.09602)"
    )

    def __post_init__(self) -> None:
        if self.level != 0.0 and not 50.0 < self.level <= 100.0:
            raise RecipeError(f"level must be 0 or in (50, 100], not {self.level}")

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The two percentiles.

        Raises:
            CalibrationError: No element was observed.
        """
        levels = (self.level,) if self.level else _LEVELS
        ranges = [_between(statistics, level) for level in levels]
        if len(ranges) == 1:
            return ranges[0]
        histogram = statistics.distribution
        return min(ranges, key=lambda bounds: _expected_error(histogram, bounds, spec))


def _between(statistics: Statistics, level: float) -> TensorRange:
    """The percentiles of one level."""
    least, most = statistics.minimum, statistics.maximum
    histogram = statistics.distribution
    low = histogram.quantile(1.0 - level / 100.0)
    high = histogram.quantile(level / 100.0)
    tiny = float(2.0**-133)  # half width of the histogram's bin of zeros
    if most > tiny >= high:
        high = most
    if least < -tiny <= low:
        low = least
    return TensorRange(low, high) if low < high else TensorRange(least, most)


def _expected_error(histogram: Histogram, bounds: TensorRange, spec: QuantSpec) -> float:
    """Sum of squared errors: step**2 / 12 inside of the range, the distance to it outside."""
    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)
    if spec.symmetric:
        low, high = -max(-low, high), max(-low, high)
    step = (high - low) / (spec.qmax - spec.qmin)
    centers = (histogram.edges_low + histogram.edges_high) / 2.0
    beyond = np.maximum(low - centers, centers - high)
    error = np.where(beyond > 0.0, beyond * beyond, np.where(centers == 0.0, 0.0, step**2 / 12.0))
    return float(np.dot(histogram.counts, error))
