"""How near the ranges from the statistics come to those from all activations.

    python benchmarks/ranges.py SET [--models A,B] [--samples 8] [--values N] [--each]

Every value that is observed, or N of each model, evenly chosen in the order of the graph: its
activations on all samples are computed once more, kept and sorted, which the collector never does,
and the ranges judged by all of them:

- percentile: the greatest relative difference of a bound from the exact percentile, for the levels
  99.9 and 99.99. Bounds that zero, which every range contains, makes irrelevant do not count.
- mse: by how much the true squared error of the chosen range exceeds the least one, found by a
  dense search over both ends.
- entropy: by how much the divergence of the chosen threshold exceeds the least one of all
  thresholds, both by the calibrator's own objective over a histogram in which all elements count.

Per model the worst value and the median, and how many values exceed the limit in brackets.
--each prints every value. The last column says whether four parts of the samples, merged, equal the
single run to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from calibration import Calibration
from common import Entry, machine, parser, read_set, table
from edgeq_calibrators.entropy import Divergence

from edgeq.calibration.collector import Collector
from edgeq.calibration.contract import CalibrationContext, StatisticKind
from edgeq.calibration.discovery import create
from edgeq.calibration.statistics import Statistics
from edgeq.graph.expose import expose
from edgeq.quantization import affine
from edgeq.quantization.ranges import required_kinds
from edgeq.runtime.session import Session, SessionConfig
from edgeq.types import QuantSpec, TensorRange, ValueRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.collection import Collection
    from edgeq.types import Sample

LEVELS = (99.9, 99.99)
LIMITS = {"percentile 99.9": 0.01, "percentile 99.99": 0.01, "mse": 0.02, "entropy": 0.02}
"""The methods, and the deviation that is allowed."""

_CONTEXT = CalibrationContext("value", None, ())
_SHARDS = 4
_BINS = 2048
_SEARCH = ((5.0, 51), (0.1, 11), (0.02, 9))
"""Octaves and points of the search for the least squared error, each around the best before."""


@dataclass(frozen=True, eq=False, slots=True)
class Exact:
    """All elements of a value, sorted, and the sums of those before each and of their squares."""

    ordered: NDArray[np.float32]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Sequence[NDArray[np.float32]]) -> Exact:
        ordered = np.sort(np.concatenate([array.ravel() for array in arrays]))
        wide = ordered.astype(np.float64)
        sums = (np.concatenate([[0.0], np.cumsum(part)]) for part in (wide, wide * wide))
        return cls(ordered, *sums)

    def percentile(self, level: float) -> float:
        """The element that ``level`` percent do not exceed."""
        rank = int(np.ceil(level / 100.0 * self.ordered.size)) - 1
        return float(self.ordered[max(rank, 0)])

    def squared_error(self, bounds: TensorRange, spec: QuantSpec) -> float:
        """Mean squared error of quantizing every element."""
        params = affine.params_for_range(bounds, spec)
        scale, zero = float(params.scale), int(params.zero_point)
        levels = scale * np.arange(spec.qmin - zero, spec.qmax - zero + 1)
        middles = ((levels[1:] + levels[:-1]) / 2).astype(np.float32)
        inner = np.searchsorted(self.ordered, middles)
        cuts = np.concatenate([[0], inner, [self.ordered.size]])
        count, first = np.diff(cuts), np.diff(self.first[cuts])
        second = np.diff(self.second[cuts])
        error = second - 2.0 * levels * first + levels**2 * count
        return max(float(error.sum()), 0.0) / self.ordered.size

    def least_squared_error(self, spec: QuantSpec) -> float:
        """Over both ends, each 7 % from the next, and then ever finer around the best."""
        least, most = min(float(self.ordered[0]), 0.0), max(float(self.ordered[-1]), 0.0)
        best, centre = np.inf, (0.0, 0.0)
        for width, points in _SEARCH:
            octaves = np.linspace(-width if width < 1.0 else 0.0, width, points)
            below = np.maximum(centre[0] + octaves, 0.0) if least < 0 else [0.0]
            above = np.maximum(centre[1] + octaves, 0.0) if most > 0 else [0.0]
            found = centre
            for a in below:
                for b in [a] if spec.symmetric else above:
                    bounds = TensorRange(least * 2.0**-a, most * 2.0**-b)
                    error = self.squared_error(bounds, spec)
                    if error < best:
                        best, found = error, (float(a), float(b))
            centre = found
        return best

    def divergences(self, spec: QuantSpec) -> NDArray[np.float64]:
        """KL of the thresholds in bins from zero, infinite for those that are none.

        Where nothing can be clipped, all are alike.
        """
        statistics = Statistics(frozenset({StatisticKind.HISTOGRAM}), limit=self.ordered.size)
        statistics.update(0, self.ordered)
        divergence = Divergence.of(statistics.histogram, spec, _BINS)
        if divergence is None:
            return np.zeros(_BINS)
        found = np.full(_BINS, np.inf)
        found[divergence.widths - 1] = divergence(divergence.widths)
        return found


def main() -> None:
    """Measure and print a table."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, default=8)
    line.add_argument("--values", type=int, help="of each model; default: all")
    line.add_argument("--each", action="store_true", help="print every value")
    given = line.parse_args()
    print(f"Ranges against those from all activations; {machine()}\n")
    rows, each = [], []
    for entry in read_set(given.set, given.models):
        found, equal = _judged(entry, given.samples, given.values, given.threads)
        rows.append([entry.name, len(found), *_summary(found), equal])
        each += [[entry.name, name, *map(_percent, errors)] for name, errors in found.items()]
    print(table(["model", "values", *LIMITS, "merged equal"], rows))
    if given.each:
        print(f"\n{table(['model', 'value', *LIMITS], each)}")


def _judged(
    entry: Entry, count: int, values: int | None, threads: int
) -> tuple[dict[str, list[float]], str]:
    """The deviations of each value, by its name, and whether merged parts equal the single run."""
    samples = entry.samples(count)
    ours = Calibration(entry, samples, threads)
    collection = ours.collect(iter(samples))
    seen = collection.statistics
    names = [n for n in ours.values if n in seen and seen[n].count]
    if values is not None and names:
        names = [names[k] for k in np.linspace(0, len(names) - 1, values).astype(int)]
    found = {}
    for name in dict.fromkeys(names):
        spec = ours.annotations.specs[ValueRef(name)]
        if isinstance(spec, QuantSpec) and seen[name].minimum < seen[name].maximum:
            exact = Exact.of(_activations(ours, name, samples, threads))
            found[name] = list(_deviations(seen[name], exact, spec))
    return found, _equal(collection, _merged(ours, samples, threads))


def _activations(
    ours: Calibration, name: str, samples: Sequence[Sample], threads: int
) -> list[NDArray[np.float32]]:
    exposed = expose(ours.model, [name], keep_outputs=False)
    if not exposed.outputs:
        return [sample[name] for sample in samples]
    session = Session(exposed.model, SessionConfig(threads))
    return [session.run(sample)[exposed.outputs[name]] for sample in samples]


def _deviations(statistics: Statistics, exact: Exact, spec: QuantSpec) -> Iterator[float]:
    """In the order of :data:`LIMITS`."""
    for level in LEVELS:
        found = create(f"percentile:level={level}").range(statistics, spec, _CONTEXT)
        low, high = exact.percentile(100.0 - level), exact.percentile(level)
        # A tail of zeros keeps its extremum; what zero cuts off is not quantized.
        pairs = (
            (found.low, low) if low < 0.0 else None,
            (found.high, high) if high > 0.0 else None,
        )
        yield max((abs(a - b) / abs(b) for a, b in filter(None, pairs)), default=0.0)
    error = exact.squared_error(create("mse").range(statistics, spec, _CONTEXT), spec)
    yield _excess(error, exact.least_squared_error(spec))
    divergences = exact.divergences(spec)
    bounds = create("entropy").range(statistics, spec, _CONTEXT)
    reach = max(-statistics.minimum, statistics.maximum)
    width = min(round(max(-bounds.low, bounds.high) / reach * _BINS + 0.5), _BINS)
    yield _excess(float(divergences[width - 1]), float(divergences.min()))


def _excess(found: float, least: float) -> float:
    return 0.0 if found <= least else found / least - 1.0 if least > 0.0 else np.inf


def _summary(found: dict[str, list[float]]) -> list[str]:
    columns = list(zip(*found.values(), strict=True)) or [()] * len(LIMITS)
    return [
        f"{_percent(max(column))}, {_percent(float(np.median(column)))}"
        + (f" ({beyond})" if (beyond := sum(error > limit for error in column)) else "")
        if column
        else "-"
        for column, limit in zip(columns, LIMITS.values(), strict=True)
    ]


def _percent(error: float) -> str:
    return f"{100 * error:.2f} %"


def _merged(ours: Calibration, samples: Sequence[Sample], threads: int) -> Collection:
    kinds = required_kinds(ours.calibrators)
    parts = [Collector(ours.model, ours.values, kinds, threads=threads) for _ in range(_SHARDS)]
    for index, sample in enumerate(samples):
        parts[index % _SHARDS].see(index, sample)
    first, *rest = (part.collection() for part in reversed(parts))
    for part in rest:
        first = first.merge(part)
    return first


def _equal(left: Collection, right: Collection) -> str:
    same = left.statistics.keys() == right.statistics.keys()
    for name in left.statistics if same else ():
        one, other = left.statistics[name].to_arrays(), right.statistics[name].to_arrays()
        same &= all(np.array_equal(array, other[key]) for key, array in one.items())
    return "yes" if same else "no"


if __name__ == "__main__":
    main()
