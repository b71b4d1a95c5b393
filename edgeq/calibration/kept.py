"""The seeded sample of the inputs that is kept for proofs and validation after the one pass."""

from __future__ import annotations

import hashlib
import heapq
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from edgeq.errors import CalibrationError

if TYPE_CHECKING:
    from edgeq.types import Array, Sample

KEPT_SAMPLES = 64
"""Samples kept at most."""

KEPT_BYTES = 256_000_000
"""Bytes of them held in memory at most; the rest is spooled to disk."""


class KeptSamples(Sequence["Sample"]):
    """A uniform sample, without replacement, of a stream of unknown length.

    Bottom-k sampling (Cohen and Kaplan 2007): those samples are kept whose hashes of seed and
    index are the smallest. So the choice depends on the seed and on which indices there are, not
    on their order, and the samples of parts of a stream merge to that of the whole. Samples come
    out in the order of their indices.

    Args:
        limit: Samples kept at most.
        memory: Bytes held in memory at most.
        seed: Seed of the choice.

    Attributes:
        limit: As given.
        seed: As given.
        seen: Samples that were offered.
    """

    def __init__(self, limit: int = KEPT_SAMPLES, memory: int = KEPT_BYTES, seed: int = 0) -> None:
        self.limit = limit
        self.seed = seed
        self.seen = 0
        self._memory = memory
        self._stored: dict[int, Sample | _Spooled] = {}
        self._ranks: list[tuple[int, int]] = []  # a heap, the largest hash on top
        self._held = 0
        self._folder: Path | None = None

    def offer(self, index: int, sample: Sample) -> None:
        """Show a sample of the stream; a copy is kept if chance wants it.

        Args:
            index: Of the sample in the stream; each once.
            sample: What to keep.
        """
        self.seen += 1
        rank = (-_hash(self.seed, index), index)
        if len(self._ranks) < self.limit:
            heapq.heappush(self._ranks, rank)
        elif self.limit and rank > self._ranks[0]:
            _, dropped = heapq.heapreplace(self._ranks, rank)
            self._release(self._stored.pop(dropped))
        else:
            return
        self._stored[index] = self._store(index, sample)

    def merge(self, other: KeptSamples) -> KeptSamples:
        """What would have been kept of both streams together.

        Raises:
            CalibrationError: The two were drawn with different seeds or limits.
        """
        if (self.seed, self.limit) != (other.seed, other.limit):
            raise CalibrationError(
                f"samples kept with seeds {self.seed} and {other.seed} do not merge",
                remedy="Collect all shards with the same seed",
            )
        merged = KeptSamples(self.limit, self._memory, self.seed)
        for part in (self, other):
            for index, sample in part.items():
                merged.offer(index, sample)
        merged.seen = self.seen + other.seen
        return merged

    def items(self) -> Iterator[tuple[int, Sample]]:
        """Index and sample, ascending by index."""
        for index in sorted(self._stored):
            yield index, _read(self._stored[index])

    def indices(self) -> list[int]:
        """Indices in the stream of the kept samples, ascending."""
        return sorted(self._stored)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        ordered = sorted(self._stored)
        if isinstance(index, slice):
            return [_read(self._stored[each]) for each in ordered[index]]
        return _read(self._stored[ordered[index]])

    def __iter__(self) -> Iterator[Sample]:
        return (sample for _, sample in self.items())

    def __len__(self) -> int:
        return len(self._stored)

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


def _hash(seed: int, index: int) -> int:
    """64 bits of each pair that look independent of all others, on every machine the same."""
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:8])


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
