"""An exponential moving average of the samples' extrema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.calibration import CONTRACT, CalibrationContext, StatisticKind, Statistics
from edgeq.errors import RecipeError
from edgeq.types import QuantSpec, TensorRange

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MovingAverage:
    """Averages each sample's extrema exponentially, so that one unusual sample weighs little.

    With x_i the extremum of the i-th sample in the order of their indices and m the momentum,
    a_0 = x_0 and a_i = m a_(i-1) + (1 - m) x_i.

    Args:
        momentum: Weight of what was seen before, 0 <= momentum < 1.
    """

    momentum: float = 0.9

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.SAMPLE_EXTREMA})
    source: ClassVar[str] = (
        "Jacob et al. 2018, section 3.1 (arXiv:1712.05877); Krishnamoorthi 2018 (arXiv:1806.08342)"
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise RecipeError(f"momentum must be in [0, 1), not {self.momentum}")

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The averaged extrema.

        Raises:
            CalibrationError: No element was observed.
        """
        least, most = statistics.minimum, statistics.maximum
        samples = statistics.samples
        weights = self._weights(samples.indices.size)
        low = min(max(float(weights @ samples.minima.astype(np.float64)), least), most)
        high = min(max(float(weights @ samples.maxima.astype(np.float64)), low), most)
        return TensorRange(low, high)

    def _weights(self, samples: int) -> NDArray[np.floating[Any]]:
        """The recursion written out: m**(n-1) for the first, (1 - m) m**(n-1-i) for the others."""
        age = np.arange(samples - 1, -1, -1, dtype=np.float64)
        weights = self.momentum**age
        weights[1:] *= 1.0 - self.momentum
        return weights
