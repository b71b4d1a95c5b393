"""What a calibrator is: the contract that built-in and third-party calibrators share.

A calibrator turns the :class:`~edgeq.calibration.statistics.Statistics` of one value into the
range that quantization should cover. It never makes scales: only ``quantization/affine.py`` does,
so that every method is rounded and clamped alike.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edgeq.calibration.statistics import Statistics
    from edgeq.types import QuantSpec, TensorRange

CONTRACT = 1
"""Version of this contract. A calibrator states the one it was written for."""

ENTRY_POINT_GROUP = "edgeq.calibrators"
"""Distributions announce calibrators under this entry-point group."""


class StatisticKind(enum.Enum):
    """What a calibrator reads; the collector gathers only what somebody requires."""

    EXTREMA = "extrema"
    SAMPLE_EXTREMA = "sample extrema"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class CalibrationContext:
    """What surrounds the value that is being calibrated.

    Attributes:
        value: Name of the value.
        producer: Op type that computes it; None for an input of the model.
        consumers: Op types that read it, each once, sorted.
    """

    value: str
    producer: str | None
    consumers: tuple[str, ...]


@runtime_checkable
class Calibrator(Protocol):
    """A method that chooses a range. Constructed with keyword parameters only.

    Attributes:
        contract: The :data:`CONTRACT` version it was written for.
        requires: The statistics that :meth:`range` reads.
        source: The paper, specification or file that the method comes from.
    """

    contract: ClassVar[int]
    requires: ClassVar[frozenset[StatisticKind]]
    source: ClassVar[str]

    def range(
        self, statistics: Statistics, spec: QuantSpec, context: CalibrationContext
    ) -> TensorRange:
        """Choose the range to cover.

        Args:
            statistics: All that was observed of the value.
            spec: Integer type and symmetry that the range will be quantized to.
            context: Where the value stands in the graph.

        Returns:
            A finite range with low <= high.

        Raises:
            CalibrationError: The statistics do not allow a range (no finite element seen).
        """
        ...
