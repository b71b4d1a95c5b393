"""What a calibration table says, value by value, and which values will suffer in int8."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.contract import CalibrationContext, StatisticKind
from edgeq.calibration.discovery import AUTO
from edgeq.errors import CalibrationError, RecipeError, nearest
from edgeq.quantization.ranges import calibrators_for
from edgeq.types import QuantSpec, QuantType

if TYPE_CHECKING:
    from edgeq.calibration.channels import ChannelExtrema
    from edgeq.calibration.histogram import Histogram
    from edgeq.calibration.origin import ValueNote
    from edgeq.calibration.statistics import Statistics
    from edgeq.calibration.table import CalibrationTable

BULK = 0.999
"""Fraction of the elements that are not zero which counts as the bulk; the rest are outliers."""

MANY_TIMES = 8.0
"""Times the bulk's magnitude from which a range suffers: 3 of 8 bits go to the outliers."""

_MOSTLY = 0.95
_BARS = 16


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What was observed of the channels of a value.

    Attributes:
        axis: The axis that counts them.
        count: How many there are.
        dead: Numbers of those that were the same everywhere in all samples.
        widest: The widest range of a channel, divided by the median range of those that are not
            dead; None where all are.
    """

    axis: int
    count: int
    dead: tuple[int, ...]
    widest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFacts:
    """What was observed of a value.

    Attributes:
        name: Name of the value.
        producer: Op type that computes it; None for an input of the model.
        consumers: Op types that read it.
        type: Integer type that it will be quantized to.
        count: Elements seen.
        minimum: Smallest of them; None where there is none.
        maximum: Largest of them.
        zero_fraction: Fraction of zeros.
        outlier_ratio: Largest magnitude, divided by that which only 0.1 % of the elements that
            are not zero exceed; None where all are zero.
        notes: What is remarkable, in sentences.
        suffers: Whether eight bits are few for it.
        bars: Elements in equal parts of the range from minimum to maximum.
        ranges: What each calibrator would cover; only where asked for.
        channels: What was observed of its channels; None where they were not watched.
    """

    name: str
    producer: str | None
    consumers: tuple[str, ...]
    type: str
    count: int
    minimum: float | None = None
    maximum: float | None = None
    zero_fraction: float | None = None
    outlier_ratio: float | None = None
    notes: tuple[str, ...] = ()
    suffers: bool = False
    bars: tuple[int, ...] = ()
    ranges: dict[str, tuple[float, float]] | None = None
    channels: ChannelFacts | None = None


def facts(table: CalibrationTable) -> dict[str, Any]:
    """The table as a whole, as a JSON object."""
    known, found = table.facts, table.collection
    return {
        "schema": 1,
        "model_sha256": known.origin.model_sha256,
        "target": known.origin.target,
        "exclude": list(known.origin.exclude),
        "include": list(known.origin.include),
        "skip_passes": list(known.origin.skip_passes),
        "data": known.description,
        "assumptions": list(known.assumptions),
        "seed": known.draw.seed,
        "samples": found.samples,
        "kept": len(found.kept),
        "complete": table.whole,
        "lacking": table.lacking(),
        "shards": {"count": known.shard_count, "held": list(known.shards)},
        "value_count": len(known.values),
        "not_finite": sorted(found.infinite),
        "not_computed": sorted(n for n, each in found.statistics.items() if not each.count),
        "versions": {name: list(each) for name, each in known.versions.items()},
    }


def document(table: CalibrationTable, pattern: str | None = None) -> dict[str, Any]:
    """The table with its values, as a JSON object.

    Raises:
        RecipeError: No value is called so.
    """
    return {**facts(table), "values": [asdict(each) for each in described(table, pattern)]}


def described(table: CalibrationTable, pattern: str | None = None) -> list[ValueFacts]:
    """The values of a table, in the order of the graph.

    Args:
        table: The table.
        pattern: Only values of this name (``*`` and ``?`` match anything), with the ranges of all
            calibrators.

    Raises:
        RecipeError: No value is called so.
    """
    notes = [each for each in table.facts.values if pattern is None or _matches(each, pattern)]
    if not notes and pattern is not None:
        names = [each.name for each in table.facts.values]
        raise RecipeError(
            f"no value of the table matches {pattern!r}", remedy=nearest(pattern, names)
        )
    statistics = table.collection.statistics
    return [_value(note, statistics.get(note.name), ranges=pattern is not None) for note in notes]


def _matches(note: ValueNote, pattern: str) -> bool:
    return fnmatch.fnmatchcase(note.name, pattern.replace("[", "[[]"))


def _value(note: ValueNote, seen: Statistics | None, *, ranges: bool) -> ValueFacts:
    who: dict[str, Any] = {
        "name": note.name,
        "producer": note.producer,
        "consumers": note.consumers,
        "type": note.type,
    }
    if seen is None:
        said = "NaN or infinite in some sample: the layers around it stay float"
        return ValueFacts(**who, count=0, notes=(said,), suffers=True)
    if not seen.count or StatisticKind.HISTOGRAM not in seen.kinds:
        return ValueFacts(**who, count=seen.count, notes=("no sample computed it",))
    histogram, low, high = seen.histogram, seen.minimum, seen.maximum
    zeros, ratio = zero_fraction(histogram), outlier_ratio(histogram)
    notes, suffers = _remarks(note, low, high, zeros, ratio)
    return ValueFacts(
        **who,
        count=seen.count,
        minimum=low,
        maximum=high,
        zero_fraction=zeros,
        outlier_ratio=ratio,
        notes=notes,
        suffers=suffers,
        bars=_bars(histogram),
        ranges=_ranges(note, seen) if ranges else None,
        channels=None if seen.channels is None else channel_facts(seen.channels),
    )


def channel_facts(seen: ChannelExtrema) -> ChannelFacts:
    """How much the channels of a value differ."""
    ranges = seen.maximum.astype(np.float64) - seen.minimum
    alive = ranges[ranges > 0.0]
    widest = float(alive.max() / np.median(alive)) if alive.size else None
    dead = tuple(np.flatnonzero(ranges == 0.0).tolist())
    return ChannelFacts(seen.axis, ranges.size, dead, widest)


def _remarks(
    note: ValueNote, low: float, high: float, zeros: float, ratio: float | None
) -> tuple[tuple[str, ...], bool]:
    """What is remarkable, and whether eight bits are few."""
    if low == high:
        return ("always zero: dead" if low == 0.0 else f"always {low:.4g}: constant",), False
    said, suffers = [], False
    if ratio is not None and ratio >= MANY_TIMES:
        suffers = True
        said.append(
            f"outliers: the range is {ratio:.3g} times that of 99.9 % of it, "
            f"{math.log2(ratio):.1f} bits go to the rest"
        )
    if (low >= 0.0 or high <= 0.0) and note.symmetric:
        said.append("one-sided: a symmetric type wastes a bit")
    elif low >= 0.0 or high <= 0.0:
        said.append("one-sided")
    if zeros >= _MOSTLY:
        said.append("mostly zero")
    return tuple(said), suffers


def zero_fraction(histogram: Histogram) -> float:
    """Fraction of the elements that are zero."""
    around = (histogram.edges_low <= 0.0) & (histogram.edges_high >= 0.0)
    return float(histogram.counts[around].sum() / histogram.total)


def outlier_ratio(histogram: Histogram) -> float | None:
    """Largest magnitude over that of the bulk (:data:`BULK`); None where all elements are zero."""
    magnitudes = np.maximum(np.abs(histogram.edges_low), np.abs(histogram.edges_high))
    other = (histogram.edges_low > 0.0) | (histogram.edges_high < 0.0)
    if not other.any():
        return None
    order = np.argsort(magnitudes[other], kind="stable")
    ascending = magnitudes[other][order]
    reached = np.cumsum(histogram.counts[other][order])
    bulk = ascending[np.searchsorted(reached, BULK * reached[-1])]
    return float(ascending[-1] / bulk)


def _bars(histogram: Histogram) -> tuple[int, ...]:
    """Elements in equal parts of the range; a bin counts where its middle lies."""
    low, high = float(histogram.edges_low[0]), float(histogram.edges_high[-1])
    if low == high:
        return (histogram.total,)
    middles = (histogram.edges_low + histogram.edges_high) / 2
    places = np.clip((middles - low) / (high - low) * _BARS, 0, _BARS - 1).astype(int)
    return tuple(np.bincount(places, histogram.counts, _BARS).astype(int).tolist())


def _ranges(note: ValueNote, seen: Statistics) -> dict[str, tuple[float, float]]:
    """What the calibrators would cover; those that find no range are left out."""
    spec = QuantSpec(QuantType(note.type), symmetric=note.symmetric)
    context = CalibrationContext(note.name, note.producer, note.consumers)
    found = {}
    for name, calibrator in calibrators_for(AUTO).items():
        try:
            bounds = calibrator.range(seen, spec, context)
        except CalibrationError:
            continue
        found[name] = (bounds.low, bounds.high)
    return found
