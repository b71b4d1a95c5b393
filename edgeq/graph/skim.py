"""A model file without its large weights: they stay in the file, and are mapped when they are read.

A message of weights exists twice while protobuf reads it, and once ever after. The fields that hold
raw data are cut out of the bytes before, and the tensors say instead, in ONNX's own words, at which
place of which file their data is: this one (onnx.proto: TensorProto.external_data).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE: Final = 1 << 20
"""Bytes from which a tensor's data stays in the file."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
"""Numbers of fields and of a constant in onnx.proto, which never change."""


class NotSkimmedError(ValueError):
    """The bytes are no message of that form; protobuf will tell what is wrong with them."""


def skim(data: memoryview, location: str) -> bytes | None:
    """The bytes of a model with the large initializers of its main graph left in the file.

    Args:
        data: The whole file.
        location: Its name, relative to its folder.

    Returns:
        A smaller message; None where nothing is large.

    Raises:
        NotSkimmedError: This is no such message.
    """
    made: list[bytes] = []
    cut = False
    for number, kind, start, end, first in _fields(data, 0, len(data)):
        if number == _GRAPH and kind == _BYTES:
            graph = _graph(data, start, end, location)
            cut = cut or graph is not None
            made.append(bytes(data[first:end]) if graph is None else _field(_GRAPH, graph))
        else:
            made.append(bytes(data[first:end]))
    return b"".join(made) if cut else None


def _graph(data: memoryview, start: int, end: int, location: str) -> bytes | None:
    if end - start < LARGE:
        return None
    made: list[bytes] = []
    cut = False
    for number, kind, inside, behind, first in _fields(data, start, end):
        tensor = None
        if number == _INITIALIZER and kind == _BYTES and behind - inside >= LARGE:
            tensor = _tensor(data, inside, behind, location)
        cut = cut or tensor is not None
        whole = tensor is None
        made.append(bytes(data[first:behind]) if whole else _field(_INITIALIZER, tensor or b""))
    return b"".join(made) if cut else None


def _tensor(data: memoryview, start: int, end: int, location: str) -> bytes | None:
    """A tensor that names the place of its raw data; None for one without, or external already."""
    made: list[bytes] = []
    place: tuple[int, int] | None = None
    for number, kind, inside, behind, first in _fields(data, start, end):
        if number in (_EXTERNAL_DATA, _DATA_LOCATION):
            return None
        if number == _RAW_DATA and kind == _BYTES:
            # Of a field that occurs twice the last one counts.
            place = (inside, behind - inside)
        else:
            made.append(bytes(data[first:behind]))
    if place is None or place[1] < LARGE:
        return None
    facts = {"location": location, "offset": str(place[0]), "length": str(place[1])}
    for key, value in facts.items():
        entry = _field(1, key.encode()) + _field(2, value.encode())
        made.append(_field(_EXTERNAL_DATA, entry))
    made.append(_varint(_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL))
    return b"".join(made)


def _fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, wire type, begin and end of the content, and begin of the field itself."""
    place = start
    while place < end:
        first = place
        key, place = _read_varint(data, place, end)
        number, kind = key >> 3, key & 7
        inside = place
        if kind == _VARINT:
            _, place = _read_varint(data, place, end)
        elif kind == _FIXED64:
            place += 8
        elif kind == _FIXED32:
            place += 4
        elif kind == _BYTES:
            length, inside = _read_varint(data, place, end)
            place = inside + length
        else:
            raise NotSkimmedError(f"wire type {kind}")
        if place > end or number == 0:
            raise NotSkimmedError("a field reaches beyond its message")
        yield number, kind, inside, place, first


def _read_varint(data: memoryview, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise NotSkimmedError("a number has no end")


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
