"""The range between two percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeq.calibration import CONTRACT, CalibrationContext, StatisticKind, Statistics
from edgeq.errors import RecipeError
from edgeq.types import QuantSpec, TensorRange


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """Cuts the rarest elements off, each tail by itself.

    At level 99.99 at most 0.01 % of the elements lie below the range and at most 0.01 % above.
    A tail never loses all of its elements: where the cut would leave only zeros of a sparse
    value, or a single number, that side keeps its extremum.

    Args:
        level: Percent of the elements that each bound of the range leaves on its inner side,
            50 < level <= 100.
    """

    level: float = 99.99

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.HISTOGRAM})
    source: ClassVar[str] = (
        "Wu et al. 2020, Integer Quantization for Deep Learning Inference: Principles and "
        "Empirical Evaluation, section 5.2 (arXiv:2004.09602)"
    )

    def __post_init__(self) -> None:
        if not 50.0 < self.level <= 100.0:
            raise RecipeError(f"level must be in (50, 100], not {self.level}")

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The two percentiles.

        Raises:
            CalibrationError: No element was observed.
        """
        least, most = statistics.minimum, statistics.maximum
        histogram = statistics.histogram
        low = histogram.quantile(1.0 - self.level / 100.0)
        high = histogram.quantile(self.level / 100.0)
        tiny = float(2.0**-133)  # half width of the histogram's bin of zeros
        if most > tiny >= high:
            high = most
        if least < -tiny <= low:
            low = least
        return TensorRange(low, high) if low < high else TensorRange(least, most)
