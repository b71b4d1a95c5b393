"""What the HTML report shows beyond the document: every value's range and histogram, the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.contract import StatisticKind
from edgeq.graph.walk import nodes, values
from edgeq.quantization.ranges import context_of
from edgeq.report.calibration import channel_facts, outlier_ratio, zero_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.histogram import Histogram
    from edgeq.calibration.statistics import Statistics
    from edgeq.quantization.plan import NodeDecision, QuantPlan
    from edgeq.quantization.ranges import ChosenRange
    from edgeq.report.calibration import ChannelFacts
    from edgeq.types import QuantParams

BINS = 161
"""Bars of a histogram: more are narrower than two pixels on a telephone. Odd, so that in symmetric
ranges the zeros, of which there are often many, fall into one bar and not between two."""

CLOSE_UP = 0.6
"""Where the integers cover less than this fraction of what was seen, there is a close-up of it."""

BULK = 0.99
"""The middle part of the elements of which it is told how many integers it uses."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Elements in equal parts of an interval.

    Attributes:
        low: Where the first part begins, in the unit of the value.
        high: Where the last part ends.
        counts: Elements in each part; 1 at least where there may be some.
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDetails:
    """One value: what was seen of it, and which integers stand for it.

    Attributes:
        name: Its name in the prepared model.
        producer: Op type that computes it; None for an input of the model.
        consumers: Op types that read it.
        calibrator: Who chose its range; None where it has that of another value, or needs none.
        low: Lower bound of the chosen range; None where none was chosen.
        high: Upper bound.
        expected_db: Expected SQNR of the value by itself in the chosen range, in dB.
        dtype: Integer type that it is stored in; None where it stays float.
        scale: Step from one integer to the next.
        zero_point: The integer that stands for zero.
        first: The smallest number that the integers can stand for.
        last: The largest.
        count: Elements seen.
        minimum: Smallest of them; None where no histogram was collected.
        maximum: Largest of them.
        zeros: Fraction of zeros.
        outside: Fraction beyond what the integers can stand for.
        outlier_ratio: See :func:`edgeq.report.calibration.outlier_ratio`.
        channels: How many channels it has, and how much they differ; None where unknown.
        used: How many integers the middle 99 % of the elements lie on; None in float.
        whole: Histogram of everything.
        close_up: Histogram of what the integers cover, where that is a small part of the whole.
    """

    name: str
    producer: str | None
    consumers: tuple[str, ...]
    calibrator: str | None = None
    low: float | None = None
    high: float | None = None
    expected_db: float | None = None
    dtype: str | None = None
    scale: float | None = None
    zero_point: int | None = None
    first: float | None = None
    last: float | None = None
    count: int = 0
    minimum: float | None = None
    maximum: float | None = None
    zeros: float | None = None
    outside: float | None = None
    outlier_ratio: float | None = None
    channels: ChannelFacts | None = None
    used: int | None = None
    whole: Bars | None = None
    close_up: Bars | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What a quantization knows about its values and nodes.

    Attributes:
        values: In the order of the graph.
        decisions: What became of each node.
        layer_values: Value that each node of the prepared model makes, where ``values`` has it.
    """

    values: tuple[ValueDetails, ...]
    decisions: tuple[NodeDecision, ...]
    layer_values: Mapping[str, str]


def collect_details(
    model: ir.Model,
    ranges: Mapping[str, ChosenRange],
    statistics: Mapping[str, Statistics],
    plan: QuantPlan,
) -> Details:
    """Put together what is known of every value.

    Args:
        model: The prepared model.
        ranges: The range of every observed value.
        statistics: What was observed, by value; what has no range of these stayed float.
        plan: The numbers.
    """
    params: dict[str, QuantParams] = {}
    for entry in plan.activations:
        if entry.readers is None or entry.value.name not in params:
            params[entry.value.name] = entry.params
    wanted = {*ranges, *params, *statistics}
    found = [
        _value(value, ranges.get(name), statistics.get(name), params.get(name))
        for name, value in values(model).items()
        if name in wanted
    ]
    return Details(tuple(found), plan.decisions, _layer_values(model, wanted, set(plan.dropped)))


def _value(
    value: ir.Value,
    chosen: ChosenRange | None,
    seen: Statistics | None,
    params: QuantParams | None,
) -> ValueDetails:
    context = context_of(value)
    facts: dict[str, object] = {}
    if chosen is not None:
        facts |= {
            "calibrator": chosen.calibrator,
            "low": chosen.bounds.low,
            "high": chosen.bounds.high,
            "expected_db": chosen.sqnr_db,
        }
    covered = None if chosen is None else (chosen.bounds.low, chosen.bounds.high)
    if params is not None:
        covered = _span(params)
        facts |= {
            "dtype": params.dtype.value,
            "scale": float(params.scale),
            "zero_point": int(params.zero_point),
            "first": covered[0],
            "last": covered[1],
        }
    if seen is not None and seen.count and StatisticKind.HISTOGRAM in seen.kinds:
        facts |= _observed(seen, covered, None if params is None else float(params.scale))
    return ValueDetails(
        name=context.value,
        producer=context.producer,
        consumers=context.consumers,
        **facts,  # type: ignore[arg-type]
    )


def _span(params: QuantParams) -> tuple[float, float]:
    """The smallest and the largest number that the integers stand for."""
    step, zero = float(params.scale), int(params.zero_point)
    return step * (params.dtype.qmin - zero), step * (params.dtype.qmax - zero)


def _observed(
    seen: Statistics, covered: tuple[float, float] | None, step: float | None
) -> dict[str, object]:
    histogram = seen.histogram
    below = _Below(histogram)
    low, high = seen.minimum, seen.maximum
    facts: dict[str, object] = {
        "count": seen.count,
        "minimum": low,
        "maximum": high,
        "zeros": zero_fraction(histogram),
        "outlier_ratio": outlier_ratio(histogram),
        "channels": None if seen.channels is None else channel_facts(seen.channels),
        "whole": below.bars(*_joined((low, high), covered)),
    }
    if covered is not None:
        # Up to half a step beyond the last integer is rounding, as everywhere else.
        half = (step or 0.0) / 2
        facts["outside"] = below.outside(covered[0] - half, covered[1] + half)
        if covered[1] - covered[0] < CLOSE_UP * (high - low):
            facts["close_up"] = below.bars(*covered)
    if covered is not None and step is not None:
        ends = (histogram.quantile((1 - BULK) / 2), histogram.quantile((1 + BULK) / 2))
        inside = np.clip(ends, *covered)
        facts["used"] = 1 + round(float(inside[1] - inside[0]) / step)
    return facts


def _joined(seen: tuple[float, float], covered: tuple[float, float] | None) -> tuple[float, float]:
    """An interval of some width that shows what was seen, and where the integers end beside it."""
    low, high = seen
    if covered is not None:
        # A type of 16 bits may reach so far beyond what was seen that nothing of it would show.
        room = 0.5 * (high - low)
        low = min(low, max(covered[0], low - room))
        high = max(high, min(covered[1], high + room))
    if low == high:
        around = max(abs(low) / 2, float(np.finfo(np.float32).tiny))
        return low - around, high + around
    return low, high


class _Below:
    """How many elements lie below a number; inside a bin they count as evenly spread."""

    def __init__(self, histogram: Histogram) -> None:
        ends = np.cumsum(histogram.counts)
        self._total = histogram.total
        self._edges = np.column_stack([histogram.edges_low, histogram.edges_high]).ravel()
        self._reached = np.column_stack([ends - histogram.counts, ends]).ravel().astype(float)

    def bars(self, low: float, high: float) -> Bars:
        """The elements in equal parts of an interval."""
        edges = np.linspace(low, high, BINS + 1)
        # Elements on the outermost edges belong to the outermost parts.
        edges[[0, -1]] = np.nextafter(low, -math.inf), np.nextafter(high, math.inf)
        counts = np.diff(self._at(edges))
        # A single outlier that is spread over two bars must not vanish by rounding.
        some = np.where(counts > 0, np.maximum(np.rint(counts), 1), 0)
        return Bars(float(low), float(high), tuple(some.astype(int).tolist()))

    def outside(self, low: float, high: float) -> float:
        """Fraction of the elements below ``low`` or above ``high``."""
        ends = self._at(np.array([np.nextafter(low, -math.inf), np.nextafter(high, math.inf)]))
        return max(1.0 - float(ends[1] - ends[0]) / self._total, 0.0)

    def _at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Elements below each of the points, float64."""
        ends = (0.0, float(self._total))
        found: NDArray[np.float64] = np.interp(points, self._edges, self._reached, *ends)
        return found


def _layer_values(model: ir.Model, wanted: set[str], dropped: set[str]) -> dict[str, str]:
    """The value of each node; behind a dropped node that follows it, that node's."""
    found: dict[str, str] = {}
    for node in nodes(model):
        value = node.outputs[0] if node.outputs else None
        while value is not None and value.name not in wanted:
            behind = [use.node.outputs[0] for use in value.uses() if use.node.name in dropped]
            value = behind[0] if behind else None
        if value is not None and node.name:
            found[node.name] = value.name or ""
    return found
