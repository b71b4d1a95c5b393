"""The types that carry samples from a kind of data to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from edgeq.types import Array, Sample

Dim: TypeAlias = int | str | None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input that the model has to be fed with.

    Attributes:
        name: Name of the input; a name with a trailing ``:0`` is a name like any other.
        dtype: Element type that the model takes.
        shape: One entry a dimension, a text or None where it is dynamic; None for unknown rank.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dim, ...] | None


class SampleSource(Protocol):
    """Checked samples, read lazily, one at a time."""

    @property
    def description(self) -> str:
        """One line for the report, such as ``128 pictures in calib/ (calib.toml)``."""
        ...

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was inferred, in sentences.

        What the data itself shows (a cast, a missing batch dimension) is added while the samples
        are read: the list is complete after the iteration.
        """
        ...

    @property
    def labels(self) -> Mapping[str, Array]:
        """Label arrays by name, without the prefix ``label_``; empty when there are none.

        Labels that Python objects carry in their samples are those of the samples read so far.

        Raises:
            DataError: The labels cannot be read or do not fit the samples.
        """
        ...

    @property
    def rewinds(self) -> bool:
        """Whether the samples can be read again."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """Read the samples, shaped and typed exactly as the model is fed.

        Raises:
            DataError: A sample cannot be read or does not fit the model, or there are none.
        """
        ...

    def indexed(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, Sample]]:
        """Read some of the samples, each with its index; as ``__iter__`` otherwise.

        Files of samples that are not wanted are not opened where each sample has its own, or lies
        at a known place. Other sources are read in full and those samples dropped.

        Args:
            wanted: Whether the sample of an index is.
        """
        ...

    def length_hint(self) -> int | None:
        """How many samples will come; None when only reading them will tell."""
        ...


@dataclass(frozen=True, slots=True)
class RawSample:
    """A sample as it was found.

    Attributes:
        where: File or number of the sample, for messages.
        arrays: Arrays by input name; ``label_*`` entries are labels.
    """

    where: str
    arrays: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Opened data: what a kind hands over before anything is checked.

    Attributes:
        description: One line for the report.
        read: Starts reading from the first sample.
        pick: Reads the sample of an index below ``length`` without touching the others; None
            where those before it have to be read.
        length: Number of samples if known, at most the limit that the kind was given.
        assumptions: What was inferred while opening.
        labels: Reads the labels of the samples.
        rewinds: Whether ``read`` can be called again.
        ahead: Whether samples may be read in a thread of edgeq's, ahead of who asks for them. Not
            where the user's code makes them: it may be bound to its thread, fill the same arrays
            again, or count how often it is asked. Nor where a sample is there at once.
    """

    description: str
    read: Callable[[], Iterator[RawSample]]
    length: int | None
    pick: Callable[[int], RawSample] | None = None
    assumptions: tuple[str, ...] = ()
    labels: Callable[[], Mapping[str, Array]] = dict
    rewinds: bool = True
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data that samples can be read from.

    Attributes:
        accepts: What it takes, for messages.
        recognises: Whether the data is of this kind. Cheap, and true of one kind only.
        open: Opens data of this kind for the inputs of a model, up to a number of samples.
    """

    accepts: str
    recognises: Callable[[object], bool]
    open: Callable[[Any, Sequence[InputSpec], int | None], Reading]


def picked(pick: Callable[[int], RawSample], length: int) -> Callable[[], Iterator[RawSample]]:
    """What ``Reading.read`` is where every sample can be picked by its index."""
    return lambda: map(pick, range(length))


def counted(found: int, limit: int | None, what: str) -> str:
    """``128 pictures``, or ``64 of 128 pictures`` where the limit cuts."""
    plural = what if found == 1 else f"{what}s"
    return (
        f"{found} {plural}" if limit is None or limit >= found else f"{limit} of {found} {plural}"
    )


def limited(found: int, limit: int | None) -> int:
    """How many samples are read of those found."""
    return found if limit is None else min(found, limit)
