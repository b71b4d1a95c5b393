"""The seeded sample of the inputs that is kept for proofs and validation after the one pass."""

from __future__ import annotations

import random
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array, Sample

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
        self._slots: list[tuple[int, Sample | _Spooled]] = []
        self.seen = 0
        self._held = 0
        self._folder: Path | None = None

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

    def _store(self, index: int, sample: Sample) -> Sample | _Spooled:
        size = _bytes(sample)
        if self._held + size <= self._memory:
            self._held += size
            return {name: np.array(array) for name, array in sample.items()}
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="edgeq-samples-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{index}.npz"
        # Under their positions: inputs may have any name, also those of savez's own parameters.
        np.savez(path, *(_without_objects(array) for array in sample.values()))
        return _Spooled(path, {name: array.dtype for name, array in sample.items()})

    def _release(self, stored: Sample | _Spooled) -> None:
        if isinstance(stored, _Spooled):
            stored.path.unlink()
        else:
            self._held -= _bytes(stored)


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A sample on disk: its arrays in the order of ``dtypes``."""

    path: Path
    dtypes: dict[str, np.dtype[np.generic]]


def _without_objects(array: Array) -> Array:
    """Text as fixed-width text: objects would have to be pickled."""
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def _read(stored: Sample | _Spooled) -> Sample:
    if not isinstance(stored, _Spooled):
        return stored
    with np.load(stored.path, allow_pickle=False) as arrays:
        found = [arrays[f"arr_{position}"] for position in range(len(stored.dtypes))]
    return {
        name: array.view(dtype) if array.dtype.kind == "V" else array.astype(dtype, copy=False)
        for (name, dtype), array in zip(stored.dtypes.items(), found, strict=True)
    }


def _bytes(sample: Sample) -> int:
    return sum(array.nbytes for array in sample.values())
