"""The range from the smallest to the greatest element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeq.calibration import CONTRACT, CalibrationContext, StatisticKind, Statistics
from edgeq.types import QuantSpec, TensorRange


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """Covers everything that was observed; nothing saturates on the calibration data."""

    contract: ClassVar[int] = CONTRACT
    requires: ClassVar[frozenset[StatisticKind]] = frozenset({StatisticKind.EXTREMA})
    source: ClassVar[str] = (
        "Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient "
        "Integer-Arithmetic-Only Inference (arXiv:1712.05877)"
    )

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """The extrema.

        Raises:
            CalibrationError: No element was observed.
        """
        return TensorRange(statistics.minimum, statistics.maximum)
