"""Running two models on the same samples, side by side and in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from edgeq.errors import ModelError
from edgeq.metrics import Fidelity, FidelityMeter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeq.types import Array, Sample

REMEMBERED_BYTES: Final = 256_000_000
"""Bytes of reference outputs that are kept in memory."""


class Runs(Protocol):
    """Anything that answers samples."""

    outputs: tuple[str, ...]

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Output name -> array."""
        ...


def compare(
    reference: Runs,
    candidate: Runs,
    samples: Iterable[Sample],
    pairs: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Fidelity]:
    """Closeness of every output over the samples.

    Args:
        reference: The model that is right by definition.
        candidate: The model that is judged.
        samples: Read once.
        pairs: Name in the result -> (output of the reference, output of the candidate); the
            reference's own outputs when None.

    Returns:
        Per name; outputs that are no numbers (strings, sequences) are left out, and beside float
        outputs also integers: they are places or classes, and the distance of two says nothing.

    Raises:
        ModelError: The candidate lacks an output.
    """
    wanted = pairs or {name: (name, name) for name in reference.outputs}
    comparison = Comparison(wanted)
    left = [here for here, _ in wanted.values()]
    for sample in samples:
        comparison.add(reference.run(sample, left), candidate, sample)
    return comparison.result()


class Comparison:
    """How close a model is to answers that are right by definition, over the samples so far.

    Args:
        pairs: Name in the result -> (name among the right answers, output of the candidate).
    """

    def __init__(self, pairs: Mapping[str, tuple[str, str]]) -> None:
        self._pairs = dict(pairs)
        self._meters = {name: FidelityMeter() for name in pairs}
        self._floats: set[str] = set()

    def add(self, want: Mapping[str, Array], candidate: Runs, sample: Sample) -> None:
        """Run the candidate on a sample whose right answer is known, or some of the answers.

        Raises:
            ModelError: The candidate lacks an output.
        """
        for name, (_, there) in self._pairs.items():
            if there not in candidate.outputs:
                known = ", ".join(candidate.outputs)
                raise ModelError(
                    f"the candidate has no output {name!r}",
                    remedy=f"It has {known}; compare models of one interface",
                )
        got = candidate.run(sample, [there for _, there in self._pairs.values()])
        for name, (here, there) in list(self._pairs.items()):
            if here not in want:
                continue
            if _is_number(want[here]) and _is_number(got[there]):
                self._meters[name].add(want[here], got[there])
                self._floats |= {name} if want[here].dtype.kind == "f" else set()
            else:
                del self._pairs[name], self._meters[name]

    def result(self) -> dict[str, Fidelity]:
        """The closeness of every output that is numbers."""
        chosen = self._floats & self._meters.keys() or self._meters.keys()
        return {name: meter.result() for name, meter in self._meters.items() if name in chosen}


class References:
    """What a model answers to samples, computed once for many candidates.

    Args:
        session: The model that is right by definition, perhaps in parts.
        samples: What to run it on.
        memory: Bytes of answers to keep; samples beyond that are run again for each candidate.
    """

    def __init__(
        self, session: Runs, samples: Sequence[Sample], memory: int = REMEMBERED_BYTES
    ) -> None:
        self._session = session
        self._samples = samples
        self._memory = memory
        self._answers: dict[int, dict[str, Array]] = {}

    def compare(self, candidate: Runs, comparison: Comparison | None = None) -> Comparison:
        """Closeness of a candidate's outputs over the samples.

        Args:
            candidate: The model that is judged.
            comparison: Of the same candidate, over other samples: gone on with.
        """
        names = self._session.outputs
        found = comparison or Comparison({name: (name, name) for name in names})
        for place, sample in enumerate(self._samples):
            found.add(self._answer(place, sample), candidate, sample)
        return found

    def _answer(self, place: int, sample: Sample) -> dict[str, Array]:
        if place in self._answers:
            return self._answers[place]
        answer = self._session.run(sample)
        size = sum(np.asarray(array).nbytes for array in answer.values())
        if size <= self._memory:
            self._memory -= size
            self._answers[place] = answer
        return answer


def _is_number(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
