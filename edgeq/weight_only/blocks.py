"""A matrix in blocks: integers of a few bits, and a scale and a zero point for every block.

The arithmetic is that of onnxruntime's MatMulNBits and GatherBlockQuantized and of ONNX's
DequantizeLinear with ``block_size``: ``real = scale * (integer - zero_point)``, integers from 0 to
``2**bits - 1``. A block is ``size`` neighbours in one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from edgeq.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.types import FloatArray

Codes: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

BITS: Final = (8, 4, 2)
"""What MatMulNBits stores (its schema in onnxruntime 1.31)."""

SMALLEST_BLOCK: Final = 16

FAST_BLOCKS: Final = {8: (16, 32, 64, 128, 256), 4: (16, 32, 64, 128, 256), 2: (32, 64, 128)}
"""Block sizes with a kernel that multiplies packed weights; with others, or without accuracy level
4 at 8 and 2 bits, onnxruntime 1.31 unpacks the whole matrix in every run, which takes 10 to 50
times as long (measured on x86-64 with AVX512-VNNI, one row of inputs, K 576, N 1536)."""

CHUNK_ELEMENTS: Final = 1 << 18
"""Weights that are worked on at a time: a few arrays of 1 MB stay in the cache."""

_TINY: Final = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """How a matrix is stored.

    Attributes:
        bits: Bits of an integer: 8, 4 or 2.
        size: Weights in a block, a power of two from 16.
        symmetric: Whether every zero point is the middle, ``2**(bits - 1)``, and not stored.
    """

    bits: int
    size: int
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise RecipeError(
                f"{self.bits} bits cannot be stored", where="bits", remedy="Take 8, 4 or 2"
            )
        if self.size < SMALLEST_BLOCK or self.size & (self.size - 1):
            raise RecipeError(
                f"a block of {self.size} weights cannot be stored",
                where="block size",
                remedy="Take a power of two from 16: 32, 64 or 128",
            )

    @property
    def top(self) -> int:
        """The largest integer."""
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        """The zero point where it is not stored."""
        return 1 << (self.bits - 1)

    def blocks(self, columns: int) -> int:
        """Blocks in a row of ``columns`` weights; the last one may be partly filled."""
        return -(-columns // self.size)


@dataclass(frozen=True, eq=False, slots=True)
class BlockGrid:
    """The numbers that a block can take.

    Attributes:
        spec: Bits and size.
        scale: float32 [rows, blocks], none of them zero.
        zero_point: float32 [rows, blocks] of whole numbers from 0 to ``spec.top``.
    """

    spec: BlockSpec
    scale: FloatArray
    zero_point: FloatArray

    def codes(self, rows: FloatArray) -> Codes:
        """The nearest integers of ``rows``.

        Args:
            rows: float32 [rows, blocks, size].

        Returns:
            uint8 of the same shape.
        """
        nearest = np.rint(rows / self.scale[..., None]) + self.zero_point[..., None]
        return np.clip(nearest, 0, self.spec.top).astype(np.uint8)

    def reals(self, codes: Codes) -> FloatArray:
        """What integers [rows, blocks, size] stand for: float32 of the same shape."""
        reals = codes.astype(np.float32)
        reals -= self.zero_point[..., None]
        reals *= self.scale[..., None]
        return reals


@dataclass(frozen=True, eq=False, slots=True)
class BlockMatrix:
    """A matrix [rows, columns] in blocks along its rows.

    Attributes:
        grid: Scales and zero points.
        codes: uint8 [rows, blocks, size]; what the last block lacks is the zero point.
        columns: Columns that the matrix has.
    """

    grid: BlockGrid
    codes: Codes
    columns: int

    @property
    def spec(self) -> BlockSpec:
        """How it is stored."""
        return self.grid.spec

    @property
    def rows(self) -> int:
        """Rows that the matrix has."""
        return int(self.codes.shape[0])

    def real(self) -> FloatArray:
        """The matrix that it stands for: float32 [rows, columns]."""
        flat = self.grid.reals(self.codes).reshape(self.rows, -1)
        return np.ascontiguousarray(flat[:, : self.columns])


def in_blocks(rows: FloatArray, size: int) -> FloatArray:
    """A matrix [rows, columns] as float32 [rows, blocks, size], with zeros at the end."""
    blocks = -(-rows.shape[1] // size)
    missing = blocks * size - rows.shape[1]
    if missing:
        rows = np.pad(rows, ((0, 0), (0, missing)))
    return np.ascontiguousarray(rows, dtype=np.float32).reshape(rows.shape[0], blocks, size)


def in_chunks(rows: int, columns: int, elements: int = CHUNK_ELEMENTS) -> Iterator[slice]:
    """Slices of rows that hold a bounded number of weights each."""
    step = max(1, elements // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def usable_scale(scale: FloatArray) -> FloatArray:
    """Scales as float32, with 1 in the place of zeros and of what chips flush to zero."""
    scale = np.asarray(scale, np.float32)
    return np.where(np.abs(scale) >= _TINY, scale, np.float32(1.0))


def stored_bytes(spec: BlockSpec, rows: int, columns: int) -> int:
    """Bytes of a matrix in blocks: integers, float32 scales and packed zero points."""
    blocks = spec.blocks(columns)
    integers = blocks * spec.size * spec.bits // 8
    zero_points = 0 if spec.symmetric else -(-blocks * spec.bits // 8)
    return rows * (integers + 4 * blocks + zero_points)
