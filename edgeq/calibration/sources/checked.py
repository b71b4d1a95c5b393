"""The source that callers read: samples of any kind, checked one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from edgeq.calibration.sources.ahead import ahead
from edgeq.calibration.sources.check import check_sample
from edgeq.calibration.sources.labels import PREFIX, stack_labels
from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edgeq.calibration.sources.reading import InputSpec, RawSample, Reading
    from edgeq.types import Array, Sample


@dataclass(frozen=True, eq=False, slots=True)
class _Checked:
    """A sample, its labels, and what was assumed of it."""

    sample: Sample
    labels: Mapping[str, Array]
    notes: Sequence[str]


class CheckedSource:
    """A :class:`~edgeq.calibration.sources.SampleSource` over what a kind of data opened.

    Samples in files are read and checked in a thread, two ahead of who asks for them; those that
    the user's code makes are asked for in the caller's thread, when they are wanted.

    Args:
        reading: The opened data.
        inputs: All inputs that the model must be fed with.
        limit: Largest number of samples to read; None for all.
    """

    def __init__(self, reading: Reading, inputs: Sequence[InputSpec], limit: int | None) -> None:
        self._reading = reading
        self._inputs = tuple(inputs)
        self._limit = limit
        self._reads = 0
        self._read_labels = cache(reading.labels)
        # A dict keeps the order and says each sentence once.
        self._notes: dict[str, None] = dict.fromkeys(reading.assumptions)
        self._sample_labels: list[Mapping[str, Array]] = []

    @property
    def description(self) -> str:
        """One line for the report."""
        return self._reading.description

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was inferred so far, in sentences; complete after the iteration."""
        return tuple(self._notes)

    @property
    def labels(self) -> Mapping[str, Array]:
        """Label arrays by name, without the prefix ``label_``."""
        return self._read_labels() or stack_labels(self._sample_labels, self.description)

    @property
    def rewinds(self) -> bool:
        """Whether the samples can be read again."""
        return self._reading.rewinds

    def length_hint(self) -> int | None:
        """How many samples will come, if known."""
        return self._reading.length

    def __iter__(self) -> Iterator[Sample]:
        """Read, check and yield one sample after the other; nothing read is kept."""
        return (sample for _, sample in self.indexed(lambda _: True))

    def indexed(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Sample]]:
        """See :class:`~edgeq.calibration.sources.SampleSource`."""
        self._reads += 1
        self._sample_labels = []
        found = self._found(wanted)
        for index, checked in ahead(found) if self._reading.ahead else found:
            self._notes.update(dict.fromkeys(checked.notes))
            self._sample_labels.append(checked.labels)
            yield index, checked.sample

    def _found(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, _Checked]]:
        empty = True
        for index, raw in self._raw(wanted):
            empty = False
            if raw is not None:
                yield index, self._checked(raw)
        if empty:
            raise self._no_samples()

    def _raw(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, RawSample | None]]:
        """Every index with its sample, None in place of those that are not wanted."""
        pick, length = self._reading.pick, self._reading.length
        if pick is not None and length is not None:
            for index in range(length):
                yield index, pick(index) if wanted(index) else None
            return
        for index, raw in enumerate(islice(self._reading.read(), self._limit)):
            yield index, raw if wanted(index) else None

    def _checked(self, raw: RawSample) -> _Checked:
        names = {spec.name for spec in self._inputs}
        labels = {
            name.removeprefix(PREFIX): array
            for name, array in raw.arrays.items()
            if name.startswith(PREFIX) and name not in names
        }
        arrays = {n: a for n, a in raw.arrays.items() if n.removeprefix(PREFIX) not in labels}
        sample, notes = check_sample(arrays, self._inputs, raw.where)
        return _Checked(sample, labels, tuple(notes))

    def _no_samples(self) -> DataError:
        if self._reads > 1 and not self._reading.rewinds:
            return DataError(
                "the samples were already read, and this source can be read only once",
                where=self.description,
                remedy="Pass a list, or a function that makes the generator anew",
            )
        return DataError(
            "there are no samples",
            where=self.description,
            remedy="Give at least one; 64 to 256 typical ones calibrate well",
        )
