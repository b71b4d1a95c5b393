"""Reads .wav files: PCM of 8, 16, 24 and 32 bits, and float of 32 and 64.

The standard library's ``wave`` knows neither float nor, before Python 3.12, the extensible header
that many recorders write; a reader of its own treats all alike.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.types import FloatArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording.

    Attributes:
        rate: Frames a second.
        frames: float32, shape [frames, channels], within [-1, 1) for PCM.
    """

    rate: int
    frames: FloatArray


def read_wav(path: Path) -> Sound:
    """Read a .wav file.

    Raises:
        DataError: The file is damaged, or of an encoding that is not read here.
    """
    try:
        return _sound(_chunks(path.read_bytes()))
    except (OSError, ValueError, struct.error, KeyError) as error:
        said = f"there is no {error} chunk" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"the sound cannot be read: {said}",
            where=str(path),
            remedy="Save it as PCM .wav with 16 bits",
        ) from error


def _sound(chunks: dict[bytes, bytes]) -> Sound:
    header = chunks[b"fmt "]
    code, channels, rate, _, frame_size, bits = struct.unpack_from("<HHIIHH", header)
    if code == _EXTENSIBLE:
        code = struct.unpack_from("<H", header, 24)[0]
    if channels < 1 or rate < 1 or frame_size != channels * ((bits + 7) // 8):
        raise ValueError("its header contradicts itself")
    return Sound(rate, _decoded(chunks[b"data"], code, bits).reshape(-1, channels))


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """Chunks of a RIFF file by name, the first of each."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it is not a RIFF WAVE file")
    chunks: dict[bytes, bytes] = {}
    start = 12
    while start + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, start)
        body = content[start + 8 : start + 8 + size]
        if len(body) < size:
            raise ValueError("the file ends too early")
        chunks.setdefault(name, body)
        start += 8 + size + size % 2
    return chunks


def _decoded(data: bytes, code: int, bits: int) -> FloatArray:
    if code == _FLOAT and bits in (32, 64):
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    if code != _PCM or bits not in (8, 16, 24, 32):
        raise ValueError(f"encoding {code} with {bits} bits is not read here")
    if bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        # Three bytes become the upper three of four, which keeps the sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, bits = wide.tobytes(), 32
    integers = np.frombuffer(data, f"<i{bits // 8}")
    scaled = (integers / float(1 << (bits - 1))).astype(np.float32)
    # 32-bit PCM next to 1 would round to it.
    return np.minimum(scaled, np.nextafter(np.float32(1), np.float32(0)))
