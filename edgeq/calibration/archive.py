"""Zip files of .npy arrays with a manifest, as calibration tables are: no pickle, no dates.

Equal contents give equal bytes. What is read is believed only as far as it can be checked.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from edgeq.calibration.sources.npy import damage_named, read_header, read_whole
from edgeq.errors import CalibrationError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.types import Array

MANIFEST = "manifest.json"
_NPY = ".npy"
_DATE = (1980, 1, 1, 0, 0, 0)
_LEVEL = 1
_TRIED = 1 << 16
_PAYS = 0.9
_UNSUSPICIOUS = 10**9
_LARGEST_RATIO = 100
_REMEDY = "Give a file that edgeq calibrate wrote, or calibrate again"


class ArchiveWriter:
    """Writes members one by one.

    Args:
        stream: A seekable stream, at its beginning; stays open.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w")

    def add(self, name: str, array: Array) -> None:
        """Write an array."""
        buffer = io.BytesIO()
        npy_format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
        self._write(name + _NPY, buffer.getvalue())

    def close(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and end the file."""
        text = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=True)
        self._write(MANIFEST, text.encode())
        self._zip.close()

    def _write(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system = 3  # as on Unix, whatever wrote it
        info.external_attr = 0o644 << 16
        # Deflating noise takes long and gains nothing.
        tried = data[:_TRIED]
        pays = len(zlib.compress(tried, _LEVEL)) < _PAYS * len(tried)
        info.compress_type = zipfile.ZIP_DEFLATED if pays else zipfile.ZIP_STORED
        self._zip.writestr(info, data, compresslevel=_LEVEL)


class ArchiveReader:
    """Reads members by name.

    Args:
        stream: A seekable stream, which stays open.
        where: What the file is called in messages.

    Attributes:
        where: As given.
        manifest: The manifest, a JSON object of whatever content.

    Raises:
        CalibrationError: It is no such archive.
    """

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self.where = where
        try:
            with damage_named(where):
                self._zip = zipfile.ZipFile(stream)
                self._members = {info.filename: info for info in self._zip.infolist()}
                self._refuse_bomb(stream)
                manifest = json.loads(self._zip.read(MANIFEST))
        except (DataError, RecursionError) as error:
            raise CalibrationError(
                "this is not a calibration table", where=where, remedy=_REMEDY
            ) from error
        if not isinstance(manifest, dict):
            raise self.damaged("its manifest is no JSON object")
        self.manifest: dict[str, Any] = manifest

    def read(self, name: str) -> Array:
        """Read an array.

        Raises:
            CalibrationError: It is missing or damaged.
        """
        info = self._members.get(name + _NPY)
        if info is None:
            raise self.damaged(f"{name}{_NPY} is missing")
        try:
            with damage_named(self.where), self._zip.open(info) as stream:
                header = read_header(stream)
                # Nothing else bounds the memory that a header asks for.
                if info.file_size != header.start + header.size:
                    raise ValueError(f"{info.filename} has not the length that its header says")
                return read_whole(stream, header)
        except DataError as error:
            raise self.damaged(error.what) from error

    def names(self, folder: str) -> Iterator[str]:
        """Names of the arrays in a folder, in the order of the file."""
        for name in self._members:
            if name.startswith(folder) and name.endswith(_NPY):
                yield name.removesuffix(_NPY)

    def damaged(self, what: str) -> CalibrationError:
        """The error that the table cannot be used, with the reason."""
        return CalibrationError(
            f"the calibration table is damaged: {what}", where=self.where, remedy=_REMEDY
        )

    def _refuse_bomb(self, stream: IO[bytes]) -> None:
        size = sum(info.file_size for info in self._members.values())
        if size > max(_UNSUSPICIOUS, _LARGEST_RATIO * stream.seek(0, io.SEEK_END)):
            raise ValueError("it unpacks to far more than any table")
