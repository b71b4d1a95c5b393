"""Which range every observed value gets: one calibrator for all, or the best one for each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.contract import CalibrationContext, StatisticKind
from edgeq.calibration.discovery import AUTO, create, discover
from edgeq.errors import CalibrationError, PluginError
from edgeq.graph.walk import values
from edgeq.quantization import affine
from edgeq.quantization.saturation import useful_bounds
from edgeq.types import QuantSpec, TensorRange, ValueRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.contract import Calibrator
    from edgeq.calibration.histogram import Histogram
    from edgeq.calibration.statistics import Statistics
    from edgeq.quantization.annotate import Annotations


@dataclass(frozen=True, slots=True)
class ChosenRange:
    """A range and who chose it.

    Attributes:
        bounds: The range, within what was observed.
        calibrator: Name of the calibrator.
        sqnr_db: Expected signal-to-noise ratio of the value itself when quantized so, in dB;
            None where no histogram was collected.
    """

    bounds: TensorRange
    calibrator: str
    sqnr_db: float | None


def calibrators_for(choice: str) -> dict[str, Calibrator]:
    """The calibrators that a choice stands for.

    Args:
        choice: ``NAME[:key=value,...]``, or ``auto`` for all that are installed.

    Raises:
        RecipeError: Unknown name or parameter.
        PluginError: A plug-in is broken.
    """
    if choice == AUTO:
        return {name: create(name) for name in sorted(discover())}
    return {choice.split(":", 1)[0]: create(choice)}


def required_kinds(calibrators: Mapping[str, Calibrator]) -> frozenset[StatisticKind]:
    """The statistics to collect: what the calibrators read, and what expected errors need."""
    kinds = frozenset().union(*(c.requires for c in calibrators.values()))
    return kinds | {StatisticKind.HISTOGRAM}


def choose_ranges(
    model: ir.Model,
    annotations: Annotations,
    statistics: Mapping[str, Statistics],
    calibrators: Mapping[str, Calibrator],
) -> dict[str, ChosenRange]:
    """A range for every observed value that some sample computed.

    With several calibrators, each value gets the one whose expected squared error over the
    value's histogram is the smallest.

    Args:
        model: The annotated model.
        annotations: What is wanted.
        statistics: What was observed, by value name.
        calibrators: One or more, by name.

    Returns:
        By value name; values that no sample computed are missing.

    Raises:
        CalibrationError: A calibrator finds no range.
        PluginError: A calibrator returns something else than a range.
    """
    known = values(model)
    chosen: dict[str, ChosenRange] = {}
    for ref in annotations.observed():
        seen = statistics.get(ref.name)
        spec = annotations.specs[ValueRef(ref.name)]
        if seen is None or not seen.count or not isinstance(spec, QuantSpec):
            continue
        context = context_of(known[ref.name])
        useful = useful_bounds(known[ref.name])
        distribution = _Distribution.of(seen.distribution, useful)
        offers = [
            _offer(name, calibrator, seen, spec, context, useful, distribution)
            for name, calibrator in calibrators.items()
        ]
        chosen[ref.name] = max(offers, key=lambda offer: offer.sqnr_db or 0.0)
    return chosen


def context_of(value: ir.Value) -> CalibrationContext:
    """Where a value stands in the graph."""
    producer = value.producer()
    consumers = {use.node.op_type for use in value.uses()}
    return CalibrationContext(
        value.name or "", None if producer is None else producer.op_type, tuple(sorted(consumers))
    )


def _offer(
    name: str,
    calibrator: Calibrator,
    seen: Statistics,
    spec: QuantSpec,
    context: CalibrationContext,
    useful: tuple[float, float],
    distribution: _Distribution,
) -> ChosenRange:
    try:
        bounds = calibrator.range(seen, spec, context)
    except CalibrationError as error:
        raise CalibrationError(
            f"calibrator {name}: {error.what}", where=f"value {context.value}", remedy=error.remedy
        ) from error
    if not isinstance(bounds, TensorRange):
        raise PluginError(
            f"calibrator {name} returned {bounds!r} instead of a TensorRange",
            remedy="Report it to its author; edgeq.testing.check_calibrator shows the fault",
        )
    bounds = _within(_within(bounds, (seen.minimum, seen.maximum)), useful)
    return ChosenRange(bounds, name, distribution.sqnr_db(bounds, spec))


def _within(bounds: TensorRange, limits: tuple[float, float]) -> TensorRange:
    """The part of ``bounds`` inside ``limits``: a wider range would only waste integers."""
    low = min(max(bounds.low, limits[0]), limits[1])
    return TensorRange(low, max(low, min(bounds.high, limits[1])))


@dataclass(frozen=True, eq=False, slots=True)
class _Distribution:
    """A histogram as points with counts, cut where consumers saturate.

    Attributes:
        centers: Ascending, float64 [bins].
        moments: Sums of counts, of counts * centers and of counts * centers**2 before each bin,
            float64 [3, bins + 1]; zeros, which have no error, do not count.
    """

    centers: NDArray[np.float64]
    moments: NDArray[np.float64]

    @classmethod
    def of(cls, histogram: Histogram, useful: tuple[float, float]) -> _Distribution:
        centers = (histogram.edges_low + histogram.edges_high) / 2
        np.clip(centers, *useful, out=centers)
        moments = np.zeros((3, centers.size + 1))
        each = moments[:, 1:]
        np.multiply(histogram.counts, centers != 0.0, out=each[0])
        np.multiply(each[0], centers, out=each[1])
        np.multiply(each[1], centers, out=each[2])
        np.cumsum(each, axis=1, out=each)
        return cls(centers, moments)

    def sqnr_db(self, bounds: TensorRange, spec: QuantSpec) -> float:
        """Expected signal-to-noise ratio of the value quantized over ``bounds``, in dB.

        Inside the representable range rounding errs by step^2 / 12 on average, outside by the
        distance to the bound (Widrow and Kollar, "Quantization Noise", 2008, chapter 4).
        """
        params = affine.params_for_range(bounds, spec)
        step, zero = float(params.scale), int(params.zero_point)
        low, high = step * (spec.qmin - zero), step * (spec.qmax - zero)
        start = int(self.centers.searchsorted(low))
        stop = int(self.centers.searchsorted(high, side="right"))
        below, until = self.moments[:, start].tolist(), self.moments[:, stop].tolist()
        whole = self.moments[:, -1].tolist()
        rounded = (until[0] - below[0]) * step * step / 12
        above = [all_of - part for all_of, part in zip(whole, until, strict=True)]
        noise, signal = rounded + _about(low, below) + _about(high, above), whole[2]
        if noise <= 0.0 or signal <= 0.0:
            return 200.0
        return 10 * math.log10(signal / noise)


def _about(bound: float, moments: list[float]) -> float:
    """Sum of counts * (center - bound)**2."""
    mass, first, second = moments
    return max(second - 2.0 * bound * first + bound * bound * mass, 0.0)
