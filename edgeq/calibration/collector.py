"""One pass over the samples: statistics of every value asked for, and nothing kept of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.statistics import Statistics
from edgeq.errors import CalibrationError, DataError
from edgeq.graph.expose import expose
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.contract import StatisticKind
    from edgeq.types import Array, Sample

MIN_SAMPLES = 2
"""With one there is nothing to generalize from; that more are wise is said as a warning."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the samples done and, where known, the samples in all."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What one pass over the calibration data found.

    Attributes:
        statistics: Per value; a value that no sample computed has a count of 0.
        infinite: Values without statistics, because they were NaN or infinite in some sample: no
            range covers them.
        kept: A seeded sample of the inputs.
        samples: How many samples were read.
    """

    statistics: Mapping[str, Statistics]
    infinite: frozenset[str]
    kept: KeptSamples
    samples: int


class SampleStream:
    """A one-shot stream of samples whose beginning can be looked at first.

    Args:
        samples: Any iterable of samples; iterated once.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._rest = iter(samples)
        self._ahead: list[Sample] = []

    def peek(self, count: int) -> Sequence[Sample]:
        """The next ``count`` samples, or as many as there are; they will still be iterated.

        Raises:
            DataError: There is none at all.
        """
        missing = count - len(self._ahead)
        self._ahead += itertools.islice(self._rest, max(missing, 0))
        if not self._ahead:
            raise DataError("there are no samples", remedy="Give at least one; 32 to 512 are usual")
        return self._ahead[:count]

    def __iter__(self) -> Iterator[Sample]:
        while self._ahead:
            yield self._ahead.pop(0)
        yield from self._rest


def require_enough(first: Sequence[Sample]) -> None:
    """Refuse to choose ranges from a single example.

    Args:
        first: The beginning of the stream; a sample with a batch of several counts as several.

    Raises:
        DataError: There is one example only.
    """
    batched = any(array.ndim > 1 and array.shape[0] > 1 for array in first[0].values())
    if len(first) < MIN_SAMPLES and not batched:
        raise DataError(
            "one sample is too few: the ranges of activations would be those of this sample alone",
            remedy="Give at least 16 that look like what the model will see; 32 to 512 are usual",
        )


def collect(
    model: ir.Model,
    values: Sequence[str],
    samples: Iterable[Sample],
    kinds: frozenset[StatisticKind],
    *,
    threads: int = 0,
    seed: int = 0,
    total: int | None = None,
    progress: Progress | None = None,
) -> Collection:
    """Run the model over the samples and gather statistics of the named values.

    Memory does not grow with the number of samples, but for 16 bytes a value and sample where
    per-sample records are asked for.

    Args:
        model: The prepared model; not changed.
        values: Names of float values: inputs of the model, or anything a node computes. Values in
            branches that a sample does not take are not computed by it.
        samples: Read once.
        kinds: What the calibrators need.
        threads: Threads of the session; 0 lets onnxruntime choose.
        seed: Seed of the kept sample.
        total: Number of samples, where known, for the progress display.
        progress: Told after every sample.

    Returns:
        Statistics by value name, and a kept sample of the inputs.

    Raises:
        DataError: There is no sample, or the model does not run on one.
    """
    exposed = expose(model, values, keep_outputs=False)
    observed = _Observed(values, kinds)
    fed = [i.name for i in model.graph.inputs if i.name in observed.statistics]
    session = None
    if exposed.outputs:
        what = "the model with its inner values"
        session = Session(exposed.model, SessionConfig(threads), what=what)
    kept = KeptSamples(seed=seed)
    for index, sample in enumerate(samples):
        observed.see(index, {name: sample[name] for name in fed if name in sample})
        if session is not None:
            results = session.run(sample)
            observed.see(index, {n: results[output] for n, output in exposed.outputs.items()})
        kept.offer(sample)
        if progress is not None:
            progress(index + 1, total)
    if not kept.seen:
        raise DataError("there are no samples", remedy="Give at least one; 32 to 512 are usual")
    return Collection(observed.statistics, frozenset(observed.infinite), kept, kept.seen)


class _Observed:
    """Statistics of values, of which those drop out that are not finite numbers."""

    def __init__(self, names: Iterable[str], kinds: frozenset[StatisticKind]) -> None:
        self.statistics = {name: Statistics(kinds) for name in names}
        self.infinite: set[str] = set()

    def see(self, index: int, arrays: Mapping[str, Array]) -> None:
        """Take in the values of one sample."""
        for name, array in arrays.items():
            if name in self.infinite:
                continue
            try:
                self.statistics[name].update(index, array)
            except CalibrationError:
                self.infinite.add(name)
                del self.statistics[name]
