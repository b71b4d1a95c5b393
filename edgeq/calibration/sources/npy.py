"""Reads the .npy format without pickle, and without holding more than it has to."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeq.types import Array

# What numpy, zipfile and the decompressors raise on damaged files.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a .npy stream says before its numbers.

    Attributes:
        shape: Shape of the array.
        fortran: Whether the first axis varies fastest.
        dtype: Element type, never Python objects.
        start: Offset of the numbers in the stream.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return self.dtype.itemsize * math.prod(self.shape)


@contextmanager
def damage_named(where: str) -> Iterator[None]:
    """Turn what readers raise on damaged files into a DataError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"the file cannot be read: {said}",
            where=where,
            remedy="Write the file again; arrays of Python objects are not accepted",
        ) from error


def load_npy(path: Path) -> Array:
    """Read a .npy file.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    with damage_named(str(path)):
        return np.array(_mapped(path))


def map_npy(path: Path) -> Array:
    """Map a .npy file into memory: what is indexed gets read.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    with damage_named(str(path)):
        return _mapped(path)


def _mapped(path: Path) -> Array:
    # Mapping checks the length that the header claims against the file before allocating.
    return npy_format.open_memmap(path, mode="r")


def read_header(stream: IO[bytes]) -> ArrayHeader:
    """Read the header of a .npy stream; the stream is left at the first number.

    Raises:
        ValueError: It is not the .npy format, or the array holds Python objects.
    """
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the .npy format is not supported")
    if dtype.hasobject:
        raise ValueError("the array holds Python objects (pickle)")
    return ArrayHeader(shape, fortran, dtype, stream.tell())


def rows(stream: IO[bytes], header: ArrayHeader) -> Iterator[Array]:
    """Read an array along axis 0, one entry at a time.

    An array in Fortran order has its entries scattered and is read whole.

    Args:
        stream: Positioned at the first number.
        header: Header of the array, with at least one dimension.

    Yields:
        Arrays of shape ``header.shape[1:]``.

    Raises:
        ValueError: The stream is shorter or longer than the header claims.
    """
    if header.fortran and len(header.shape) > 1:
        yield from map(np.array, read_whole(stream, header))
        return
    for _ in range(header.shape[0]):
        yield _filled(stream, header.shape[1:], header.dtype)
    _check_end(stream)


def read_whole(stream: IO[bytes], header: ArrayHeader) -> Array:
    """Read an array at once; the stream is positioned at the first number.

    Raises:
        ValueError: The stream is shorter or longer than the header claims.
    """
    shape = header.shape[::-1] if header.fortran else header.shape
    array = _filled(stream, shape, header.dtype)
    _check_end(stream)
    return array.T if header.fortran else array


def _check_end(stream: IO[bytes]) -> None:
    # Reading past the end is also what makes zipfile compare the checksum.
    if stream.read(1):
        raise ValueError("there is more data than the array needs")


def _filled(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = dtype.itemsize * math.prod(shape)
    buffer = bytearray(stream.read(size))
    if len(buffer) < size:
        raise ValueError("the data ends before the array does")
    return np.ndarray(shape, dtype, buffer)
