"""Reads .npz archives, which are zip files of .npy members, without pickle."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from edgeq.calibration.sources.npy import ArrayHeader, damage_named, read_header, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.types import Array

_MEMBER = ".npy"


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members of an archive by the name of their array."""
    return {info.filename.removesuffix(_MEMBER): info for info in archive.infolist()}


def load_headers(path: Path) -> dict[str, ArrayHeader]:
    """Read what an archive says about its arrays.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    with damage_named(str(path)), zipfile.ZipFile(path) as archive:
        return {name: _header(archive, info) for name, info in members(archive).items()}


def load_arrays(path: Path, wanted: Callable[[str], bool]) -> dict[str, Array]:
    """Read those arrays of an archive that are wanted by name.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    arrays: dict[str, Array] = {}
    with damage_named(str(path)), zipfile.ZipFile(path) as archive:
        for name, info in members(archive).items():
            if wanted(name):
                _header(archive, info)
                with archive.open(info) as stream:
                    arrays[name] = read_whole(stream, read_header(stream))
    return arrays


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ArrayHeader:
    with archive.open(info) as stream:
        header = read_header(stream)
    # A header is believed only if the member is as long as it claims: nothing else bounds memory.
    if info.file_size != header.start + header.size:
        raise ValueError(f"{info.filename} has not the length that its header says")
    return header
