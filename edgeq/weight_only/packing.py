"""Integers of a few bits in bytes, as the operators read them.

MatMulNBits and GatherBlockQuantized take several integers a byte, the first one in the lowest bits
(the operators' schemas in onnxruntime); int4 tensors of ONNX hold two a byte likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array
    from edgeq.weight_only.blocks import BlockMatrix, Codes


def packed(codes: Codes, bits: int) -> Codes:
    """Integers along the last axis in bytes.

    Args:
        codes: uint8 [..., count], each below ``2**bits``; ``count`` is padded with zeros to whole
            bytes.
        bits: 8, 4 or 2.

    Returns:
        uint8 [..., ceil(count * bits / 8)].
    """
    each = 8 // bits
    if each == 1:
        return np.ascontiguousarray(codes)
    missing = -codes.shape[-1] % each
    if missing:
        codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    grouped = codes.reshape(*codes.shape[:-1], -1, each)
    bytes_ = np.zeros(grouped.shape[:-1], np.uint8)
    for place in range(each):
        bytes_ |= grouped[..., place] << np.uint8(place * bits)
    return bytes_


def unpacked(data: Codes, bits: int, count: int) -> Codes:
    """The reverse of :func:`packed`: uint8 [..., count]."""
    each = 8 // bits
    if each == 1:
        return data
    mask = np.uint8((1 << bits) - 1)
    places = [(data >> np.uint8(place * bits)) & mask for place in range(each)]
    return np.stack(places, axis=-1).reshape(*data.shape[:-1], -1)[..., :count]


def packed_codes(matrix: BlockMatrix) -> Codes:
    """uint8 [rows, blocks, size * bits / 8], as MatMulNBits reads its input B."""
    return packed(matrix.codes, matrix.spec.bits)


def packed_zero_points(matrix: BlockMatrix) -> Codes | None:
    """uint8 [rows, ceil(blocks * bits / 8)]; None where they are the operator's default."""
    if matrix.spec.symmetric:
        return None
    return packed(matrix.grid.zero_point.astype(np.uint8), matrix.spec.bits)


def standard_codes(matrix: BlockMatrix) -> Array:
    """uint8 [columns, rows]: the integers as a matrix that MatMul multiplies by."""
    flat = matrix.codes.reshape(matrix.rows, -1)[:, : matrix.columns]
    return np.ascontiguousarray(flat.T)
