"""Running two models on the same samples, side by side and in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from edgeq.errors import ModelError
from edgeq.metrics import Fidelity, FidelityMeter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeq.runtime.session import Session
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
    for name, (_, there) in wanted.items():
        if there not in candidate.outputs:
            raise ModelError(
                f"the candidate has no output {name!r}",
                remedy=f"It has {', '.join(candidate.outputs)}; compare models of one interface",
            )
    left = [here for here, _ in wanted.values()]
    right = [there for _, there in wanted.values()]
    meters = {name: FidelityMeter() for name in wanted}
    floats: set[str] = set()
    for sample in samples:
        want, got = reference.run(sample, left), candidate.run(sample, right)
        for name, (here, there) in wanted.items():
            if _is_number(want[here]) and _is_number(got[there]):
                meters[name].add(want[here], got[there])
                floats |= {name} if want[here].dtype.kind == "f" else set()
            else:
                meters.pop(name, None)
        wanted = {name: pair for name, pair in wanted.items() if name in meters}
    chosen = floats & meters.keys() or meters.keys()
    return {name: meter.result() for name, meter in meters.items() if name in chosen}


class References:
    """What a model answers to a few samples, computed once for many candidates.

    Args:
        session: The model that is right by definition.
        samples: What to run it on.
        memory: Bytes of answers to keep; samples beyond that are run again for each candidate.
    """

    def __init__(
        self, session: Session, samples: Sequence[Sample], memory: int = REMEMBERED_BYTES
    ) -> None:
        self._session = session
        self._samples = samples
        self._memory = memory
        self._answers: dict[int, dict[str, Array]] = {}
        self.outputs: tuple[str, ...] = session.outputs

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """The answer to one of the samples, as :meth:`Session.run` gives it."""
        key = id(sample)
        if key in self._answers:
            return self._answers[key]
        answer = self._session.run(sample, outputs)
        size = sum(np.asarray(array).nbytes for array in answer.values())
        if size <= self._memory:
            self._memory -= size
            self._answers[key] = answer
        return answer

    def compare(self, candidate: Session) -> dict[str, Fidelity]:
        """Closeness of a candidate's outputs over the samples."""
        return compare(self, candidate, self._samples)


def _is_number(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
