"""The seeded sample of the inputs that is kept for proofs and validation after the one pass."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Sample

KEPT_SAMPLES = 64
"""Samples kept at most."""

KEPT_BYTES = 256_000_000
"""Bytes of them held in memory at most; the rest is spooled to disk."""


class KeptSamples(Sequence["Sample"]):
    """A uniform sample, without replacement, of a stream of unknown length.

    Reservoir sampling (Vitter 1985, algorithm R): each of the first samples is kept, sample number
    i later replaces a random one with probability limit / (i + 1). With the same seed and stream
    the outcome is the same. Samples come out in the order of the stream.

    Args:
        limit: Samples kept at most.
        memory: Bytes held in memory at most.
        seed: Seed of the choice.

    Attributes:
        seen: Samples that were offered.
    """

    def __init__(self, limit: int = KEPT_SAMPLES, memory: int = KEPT_BYTES, seed: int = 0) -> None:
        self._limit = limit
        self._memory = memory
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._slots: list[tuple[int, Sample | Path]] = []
        self.seen = 0
        self._held = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def offer(self, sample: Sample) -> None:
        """Show the next sample of the stream; a copy is kept if chance wants it."""
        index = self.seen
        self.seen += 1
        if len(self._slots) < self._limit:
            self._slots.append((index, self._store(index, sample)))
            return
        slot = self._random.randrange(index + 1)
        if slot < self._limit:
            self._release(self._slots[slot][1])
            self._slots[slot] = (index, self._store(index, sample))

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        ordered = sorted(self._slots, key=lambda slot: slot[0])
        if isinstance(index, slice):
            return [_read(stored) for _, stored in ordered[index]]
        return _read(ordered[index][1])

    def __iter__(self) -> Iterator[Sample]:
        for _, stored in sorted(self._slots, key=lambda slot: slot[0]):
            yield _read(stored)

    def __len__(self) -> int:
        return len(self._slots)

    def _store(self, index: int, sample: Sample) -> Sample | Path:
        size = _bytes(sample)
        if self._held + size <= self._memory:
            self._held += size
            return {name: np.array(array) for name, array in sample.items()}
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="edgeq-samples-")
        path = Path(self._folder.name) / f"{index}.npz"
        np.savez(path, allow_pickle=False, **dict(sample))
        return path

    def _release(self, stored: Sample | Path) -> None:
        if isinstance(stored, Path):
            stored.unlink()
        else:
            self._held -= _bytes(stored)


def _read(stored: Sample | Path) -> Sample:
    if not isinstance(stored, Path):
        return stored
    with np.load(stored, allow_pickle=False) as arrays:
        return dict(arrays)


def _bytes(sample: Sample) -> int:
    return sum(array.nbytes for array in sample.values())
