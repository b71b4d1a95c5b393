"""One .npz file: in each array axis 0 counts the samples, and sample i feeds ``array[i]``.

The arrays are decompressed side by side, one sample at a time, so that memory stays at one sample
however large the file is. Arrays in Fortran order are the exception, they are read whole.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.calibration.sources.labels import PREFIX
from edgeq.calibration.sources.npy import ArrayHeader, damage_named, read_header, rows
from edgeq.calibration.sources.npz import load_arrays, load_headers, members
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited
from edgeq.calibration.sources.sample_archives import SUFFIXES, is_label
from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array


def _recognises(data: object) -> bool:
    return isinstance(data, Path) and data.suffix.lower() in SUFFIXES


def _open(path: Path, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    inputs_named = frozenset(spec.name for spec in inputs)
    headers = load_headers(path)
    fed = {name: head for name, head in headers.items() if not is_label(name, inputs_named)}
    labelled = [name for name in headers if name not in fed]
    count = _count(path, fed)
    length = limited(count, limit)
    return Reading(
        description=f"{counted(count, limit, 'sample')} in {path}",
        read=lambda: _read(path, tuple(fed)),
        length=length,
        labels=lambda: _labels(path, labelled, count, length),
    )


def _count(path: Path, fed: Mapping[str, ArrayHeader]) -> int:
    if not fed:
        raise DataError(
            "the file holds no arrays to feed",
            where=str(path),
            remedy="Store an array for each input of the model, axis 0 counting the samples",
        )
    scalars = [name for name, header in fed.items() if not header.shape]
    if scalars:
        raise DataError(
            f"array {scalars[0]!r} is a single number; axis 0 should count the samples",
            where=str(path),
            remedy="Repeat it for each sample",
        )
    counts = {name: header.shape[0] for name, header in fed.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            f"the arrays differ in the number of samples along axis 0: {listing}",
            where=str(path),
            remedy="Axis 0 of each array counts the samples, before the shape that is fed; "
            "a single sample goes into a folder of .npz files",
        )
    return next(iter(counts.values()))


def _read(path: Path, names: Sequence[str]) -> Iterator[RawSample]:
    with damage_named(str(path)), ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        found = members(archive)
        streams = [stack.enter_context(archive.open(found[name])) for name in names]
        series = [rows(stream, read_header(stream)) for stream in streams]
        for index, arrays in enumerate(zip(*series, strict=True)):
            yield RawSample(f"{path} sample {index}", dict(zip(names, arrays, strict=True)))


def _labels(path: Path, names: Sequence[str], count: int, length: int) -> dict[str, Array]:
    """Read the label arrays; those with an entry a sample are cut to the samples read."""
    return {
        name.removeprefix(PREFIX): array[:length] if array.shape[:1] == (count,) else array
        for name, array in load_arrays(path, lambda name: name in names).items()
    }


KIND = Kind(
    accepts="one .npz file, axis 0 of each array counting the samples",
    recognises=_recognises,
    open=_open,
)
