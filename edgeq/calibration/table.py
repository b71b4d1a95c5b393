"""Calibration tables: saved statistics of a model's values, with the sample that was kept.

The file format is described in ``docs/table.md``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration import manifest
from edgeq.calibration.archive import ArchiveReader, ArchiveWriter
from edgeq.calibration.collection import Collection
from edgeq.calibration.kept import KEPT_SAMPLES, KeptSamples
from edgeq.calibration.manifest import Content, Facts, Input, Kept
from edgeq.calibration.origin import sample_digest
from edgeq.calibration.packing import pack, unpack
from edgeq.calibration.stored import restored, storable, type_name
from edgeq.errors import CalibrationError
from edgeq.whole_file import written_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import IO

    from edgeq.types import IntArray, Sample

_SAMPLES = "samples"
_STATISTICS = "statistics/"
_INPUTS = "inputs/"


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """What calibration found, and all that tells whether it fits.

    Attributes:
        facts: What the numbers belong to, which samples there are and which shards these are.
        collection: The numbers and the kept sample.
        first: The first few samples of the data, on which the preparation was proven.
        complete: Whether every sample of the shards was read.
    """

    facts: Facts
    collection: Collection
    first: tuple[Sample, ...]
    complete: bool

    @property
    def whole(self) -> bool:
        """Whether all samples of the data are in it."""
        return self.complete and len(self.facts.shards) == self.facts.shard_count

    def lacking(self) -> str | None:
        """What is missing, in words; None for a whole table."""
        said = [text for text in (self._missing_shards(), self.unread()) if text is not None]
        return " and ".join(said) or None

    def unread(self) -> str | None:
        """That samples of its own shards are missing; None where they are not."""
        if self.complete:
            return None
        total = self.facts.draw.length
        of = f" of {total}" if total is not None and self.facts.shard_count == 1 else ""
        return f"the run was interrupted after {self.collection.samples}{of} samples"

    def _missing_shards(self) -> str | None:
        facts = self.facts
        named = ", ".join(map(str, facts.missing_shards()))
        return f"of {facts.shard_count} shards, these are missing: {named}" if named else None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table, whole or not at all. Equal tables are equal files.

        Raises:
            CalibrationError: It cannot be written.
        """
        try:
            with written_whole(path) as file, file.open("w+b") as stream:
                self._write(stream)
        except OSError as error:
            raise CalibrationError(
                f"the table cannot be written: {error.strerror or error}",
                where=str(path),
                remedy="Check that the folder is there, its rights and the free space",
            ) from error

    def to_bytes(self) -> bytes:
        """The content of the file."""
        buffer = io.BytesIO()
        self._write(buffer)
        return buffer.getvalue()

    def _write(self, stream: IO[bytes]) -> None:
        found, archive = self.collection, ArchiveWriter(stream)
        archive.add(_SAMPLES, found.indices)
        for key, array in pack(found.statistics.values()).items():
            archive.add(_STATISTICS + key, array)
        kept = [_added(archive, index, sample) for index, sample in found.kept.items()]
        already = set(found.kept.indices())
        more = [
            _added(archive, index, sample)
            for index, sample in enumerate(self.first)
            if index not in already
        ]
        content = Content(
            self.facts, found.infinite, tuple(kept), tuple(more), len(self.first), self.complete
        )
        archive.close(manifest.written(content))


def load_table(source: str | os.PathLike[str]) -> CalibrationTable:
    """Read a calibration table.

    Args:
        source: The file.

    Raises:
        CalibrationError: There is no such file, or it is damaged or something else.
    """
    path = Path(source)
    try:
        with path.open("rb") as stream:
            return read_table(stream, str(path))
    except (OSError, ValueError) as error:
        raise CalibrationError(
            f"the table cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            remedy="Give the file that edgeq calibrate wrote with -o",
        ) from error


def read_table(stream: IO[bytes], where: str) -> CalibrationTable:
    """Read a table from an open, seekable stream.

    Args:
        stream: The content.
        where: What it is called in messages.

    Raises:
        CalibrationError: It is damaged or something else.
    """
    archive = ArchiveReader(stream, where)
    content = manifest.read(archive)
    finite = [note.name for note in content.facts.values if note.name not in content.infinite]
    try:
        packed = {
            name.removeprefix(_STATISTICS): archive.read(name)
            for name in archive.names(_STATISTICS)
        }
        statistics = dict(zip(finite, unpack(packed, len(finite)), strict=True))
        indices = _indices(archive)
        kept = _kept(archive, content, indices)
        first = _first(archive, content, kept)
    except (ValueError, KeyError, OverflowError, TypeError, MemoryError) as error:
        raise archive.damaged(str(error)) from error
    except CalibrationError as error:
        if error.where is not None:
            raise
        raise archive.damaged(error.what) from error
    collection = Collection(statistics, content.infinite, kept, indices)
    return CalibrationTable(content.facts, collection, first, content.complete)


def merge(
    tables: Sequence[CalibrationTable], names: Sequence[str] = (), *, allow_partial: bool = False
) -> CalibrationTable:
    """The table that one run over all samples would have written, to the bit.

    Args:
        tables: Shards of one run, each once, in any order.
        names: What they are called in messages.
        allow_partial: Whether shards may be missing or unfinished.

    Raises:
        CalibrationError: They are of different runs, overlap, or do not cover the data.
    """
    if not tables:
        raise CalibrationError("there is no table to merge", remedy="Give the tables of all shards")
    called = [*names, *(f"table {number}" for number in range(len(names) + 1, len(tables) + 1))]
    _require_one_run(tables, called)
    _require_disjoint(tables, called)
    for table, name in zip(tables, called, strict=True):
        unread = table.unread()
        if unread is not None and not allow_partial:
            raise CalibrationError(
                unread,
                where=name,
                remedy="Finish it with edgeq calibrate --resume, or give --allow-partial",
            )
    facts = reduce(Facts.joined, (table.facts for table in tables))
    collection = reduce(Collection.merge, (table.collection for table in tables))
    complete = all(table.complete for table in tables)
    made = CalibrationTable(facts, collection, tables[0].first, complete)
    if not allow_partial and (lacking := made.lacking()):
        raise CalibrationError(lacking, remedy="Give all of them, or --allow-partial")
    return _checked(made)


def _checked(table: CalibrationTable) -> CalibrationTable:
    """Make sure that a whole table is one: shards of different data would leave holes."""
    indices, length = table.collection.indices, table.facts.draw.length
    expected = indices.size if length is None else length
    if table.whole and not np.array_equal(indices, np.arange(expected)):
        absent = np.setdiff1d(np.arange(max(expected, int(indices.max(initial=-1)) + 1)), indices)
        raise CalibrationError(
            f"the shards do not cover the data: {absent.size} samples are in none, the first of "
            f"them is number {absent[0]}",
            remedy="Calibrate all shards on the same data with the same options",
        )
    return table


def _require_one_run(tables: Sequence[CalibrationTable], names: Sequence[str]) -> None:
    first = tables[0].facts
    for table, name in zip(tables[1:], names[1:], strict=True):
        other = table.facts
        difference = first.difference(other)
        if difference is not None:
            raise CalibrationError(
                f"it does not belong to the same run as {names[0]}: {difference}",
                where=name,
                remedy="Merge shards of one model, data and set of options only",
            )


def _require_disjoint(tables: Sequence[CalibrationTable], names: Sequence[str]) -> None:
    owners: dict[int, str] = {}
    for table, name in zip(tables, names, strict=True):
        for shard in table.facts.shards:
            if shard in owners:
                count = table.facts.shard_count
                what = "all samples" if count == 1 else f"shard {shard} of {count}"
                raise CalibrationError(
                    f"it holds {what}, and so does {owners[shard]}: they would count twice",
                    where=name,
                    remedy="Give each shard once, and a whole table alone",
                )
            owners[shard] = name


def table_of(
    facts: Facts, collection: Collection, first: Sequence[Sample], *, complete: bool
) -> CalibrationTable:
    """A table of what was found.

    Args:
        facts: What it belongs to.
        collection: Statistics of the values that ``facts`` lists.
        first: The first few samples of the data.
        complete: Whether every sample of the shards was read.
    """
    order = [note.name for note in facts.values]
    ordered = {n: collection.statistics[n] for n in order if n in collection.statistics}
    found = replace(collection, statistics=ordered)
    return CalibrationTable(facts, found, tuple(first), complete)


def _added(archive: ArchiveWriter, index: int, sample: Sample) -> Kept:
    """Write the arrays of a sample; what the manifest has to say of it."""
    for position, array in enumerate(sample.values()):
        archive.add(_sample_name(index, position), storable(array))
    return Kept(index, tuple(Input(name, type_name(array)) for name, array in sample.items()))


def _sample_name(index: int, position: int) -> str:
    return f"{_INPUTS}{index}.{position}"


def _sample(archive: ArchiveReader, entry: Kept) -> Sample:
    return {
        each.name: restored(archive.read(_sample_name(entry.index, position)), each.type)
        for position, each in enumerate(entry.inputs)
    }


def _indices(archive: ArchiveReader) -> IntArray:
    found = archive.read(_SAMPLES)
    if found.dtype != np.int32 or found.ndim != 1:
        raise ValueError("the list of samples is no int32 [samples]")
    indices = found.astype(np.int32)
    if indices.size and (indices[0] < 0 or (np.diff(indices) <= 0).any()):
        raise ValueError("the list of samples does not ascend")
    return indices


def _kept(archive: ArchiveReader, content: Content, indices: IntArray) -> KeptSamples:
    entries = content.kept
    numbers = [entry.index for entry in entries]
    if len(entries) != min(indices.size, KEPT_SAMPLES) or not np.isin(numbers, indices).all():
        raise ValueError(f"{len(entries)} samples are kept of {indices.size}")
    if numbers != sorted(set(numbers)):
        raise ValueError("the kept samples do not ascend")
    kept = KeptSamples(seed=content.facts.draw.seed)
    for entry in entries:
        kept.offer(entry.index, _sample(archive, entry))
    kept.seen = int(indices.size)
    return kept


def _first(archive: ArchiveReader, content: Content, kept: KeptSamples) -> tuple[Sample, ...]:
    """The first samples: most of them are kept ones where there are few."""
    places = {index: place for place, index in enumerate(kept.indices())}
    more = {entry.index: entry for entry in content.more}
    first = tuple(
        kept[places[index]] if index in places else _sample(archive, more[index])
        for index in range(content.first)
    )
    if sample_digest(first) != content.facts.draw.beginning:
        raise ValueError("the first samples are not those that their hash is of")
    return first
