"""How near the ranges from the statistics come to those from all activations.

    python benchmarks/ranges.py SET [--models A,B] [--samples 32] [--values 6]

Of each model some values, evenly chosen in the order of the graph among those of at most 8 million
elements in all samples. Their activations on all samples
are kept and sorted, which the collector never does, and judged exactly:

- percentile: the greatest relative difference of a bound from the exact percentile, for the levels
  99.9 and 99.99.
- mse: by how much the true squared error of the chosen range exceeds the least one, found by a
  dense search over both ends.
- entropy: by how much the divergence of the chosen threshold, computed from an exact histogram,
  exceeds the least one of all thresholds.

The last column says whether four parts of the samples, merged, equal the single run to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from calibration import Calibration
from common import Entry, machine, parser, read_set, table
from edgeq_calibrators.entropy import _Divergence, _sides

from edgeq.calibration.collector import Collector
from edgeq.calibration.contract import CalibrationContext
from edgeq.calibration.discovery import create
from edgeq.graph.expose import expose
from edgeq.quantization import affine
from edgeq.quantization.ranges import required_kinds
from edgeq.runtime.session import Session, SessionConfig
from edgeq.types import QuantSpec, TensorRange, ValueRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.collection import Collection
    from edgeq.calibration.statistics import Statistics
    from edgeq.types import Sample

LEVELS = (99.9, 99.99)
_CONTEXT = CalibrationContext("value", None, ())
_SHARDS = 4
_BINS = 2048
_LARGEST = 2**23


@dataclass(frozen=True, eq=False, slots=True)
class Exact:
    """All elements of a value, sorted, and the sums of the elements before each and their squares."""  # noqa: E501

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
        inner = np.searchsorted(self.ordered, (levels[1:] + levels[:-1]) / 2)
        cuts = np.concatenate([[0], inner, [self.ordered.size]])
        count, first = np.diff(cuts), np.diff(self.first[cuts])
        second = np.diff(self.second[cuts])
        error = second - 2.0 * levels * first + levels**2 * count
        return float(error.sum()) / self.ordered.size

    def least_squared_error(self, spec: QuantSpec) -> float:
        """Over both ends, each 7 % from the next, and then five times finer around the best."""
        least, most = min(float(self.ordered[0]), 0.0), max(float(self.ordered[-1]), 0.0)
        best, centre = np.inf, (0.0, 0.0)
        for width, points in ((5.0, 51), (0.1, 11)):
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
        """KL of the thresholds of 1 to 2048 bins, infinite for those that are none."""
        least, most = float(self.ordered[0]), float(self.ordered[-1])
        reach = max(-least, most)
        grid = np.linspace(-reach, reach, 2 * _BINS + 1)
        ends = np.searchsorted(self.ordered, grid).astype(np.float64)
        ends[-1] = self.ordered.size
        counts = np.diff(ends)
        zeros = np.searchsorted(self.ordered, 0.0, "right") - np.searchsorted(self.ordered, 0.0)
        counts[_BINS] -= zeros
        divergence = _Divergence(counts, spec.qmax - spec.qmin + 1)
        below, above = _sides(least / reach, most / reach, _BINS, symmetric=spec.symmetric)
        widths = np.arange(1, _BINS + 1)
        starts, stops = _BINS - np.minimum(widths, below), _BINS + np.minimum(widths, above)
        found = np.full(_BINS, np.inf)
        enough = stops - starts >= divergence.levels
        found[enough] = divergence(starts[enough], stops[enough])
        return found


def main() -> None:
    """Measure and print a table."""
    line = parser(__doc__)
    line.add_argument("--samples", type=int, default=32)
    line.add_argument("--values", type=int, default=6, help="of each model")
    given = line.parse_args()
    print(f"Ranges against those from all activations; {machine()}\n")
    header = ["model", "value", "elements", *(f"percentile {level}" for level in LEVELS)]
    rows = [
        row
        for entry in read_set(given.set, given.models)
        for row in _rows(entry, given.samples, given.values, given.threads)
    ]
    print(table([*header, "mse", "entropy", "merged equal"], rows))


def _rows(entry: Entry, count: int, values: int, threads: int) -> list[list[object]]:
    samples = entry.samples(count)
    ours = Calibration(entry, samples, threads)
    collection = ours.collect(iter(samples))
    seen = collection.statistics
    fitting = [n for n in ours.values if n in seen and 0 < seen[n].count <= _LARGEST]
    chosen = [fitting[k] for k in np.linspace(0, len(fitting) - 1, values).astype(int)]
    equal = _equal(collection, _merged(ours, samples, threads))
    rows = []
    for name in dict.fromkeys(chosen):
        spec = ours.annotations.specs[ValueRef(name)]
        if isinstance(spec, QuantSpec):
            exact = Exact.of(_activations(ours, name, samples, threads))
            rows.append([entry.name, name, *_row(seen[name], exact, spec), equal])
    return rows


def _activations(
    ours: Calibration, name: str, samples: Sequence[Sample], threads: int
) -> list[NDArray[np.float32]]:
    exposed = expose(ours.model, [name], keep_outputs=False)
    if not exposed.outputs:
        return [sample[name] for sample in samples]
    session = Session(exposed.model, SessionConfig(threads))
    return [session.run(sample)[exposed.outputs[name]] for sample in samples]


def _row(statistics: Statistics, exact: Exact, spec: QuantSpec) -> list[object]:
    row: list[object] = [exact.ordered.size]
    for level in LEVELS:
        found = create(f"percentile:level={level}").range(statistics, spec, _CONTEXT)
        pairs = (
            (found.low, exact.percentile(100.0 - level)),
            (found.high, exact.percentile(level)),
        )
        # A tail of zeros keeps its extremum; a bound in the bin of zeros is zero.
        errors = [abs(a - b) / abs(b) for a, b in pairs if b]
        row.append(f"{100 * max(errors, default=0.0):.2f} %")
    error = exact.squared_error(create("mse").range(statistics, spec, _CONTEXT), spec)
    row.append(f"{100 * (error / exact.least_squared_error(spec) - 1):.2f} %")
    divergences = exact.divergences(spec)
    bounds = create("entropy").range(statistics, spec, _CONTEXT)
    reach = max(-statistics.minimum, statistics.maximum)
    width = min(round(max(-bounds.low, bounds.high) / reach * _BINS + 0.5), _BINS)
    row.append(f"{100 * (divergences[width - 1] / divergences.min() - 1):.2f} %")
    return row


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
