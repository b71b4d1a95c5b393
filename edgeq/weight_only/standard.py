"""Matrices in blocks as DequantizeLinear of the ONNX standard, version 21.

Any runtime reads these; onnxruntime turns DequantizeLinear before a MatMul, or a Gemm that does not
transpose it, into MatMulNBits while it loads the model, and computes the rest as floats.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire
from edgeq.graph.walk import is_op
from edgeq.weight_only.packing import standard_codes

if TYPE_CHECKING:
    from edgeq.types import Array
    from edgeq.weight_only.blocks import BlockMatrix
    from edgeq.weight_only.tables import Table, Use

STANDARD_OPSET: Final = 21
"""The first one with blocks and 4-bit types."""

STANDARD_BITS: Final = (8, 4)

_TYPES: Final = {
    8: (np.dtype(np.uint8), np.dtype(np.int8)),
    4: (np.dtype(ml_dtypes.uint4), np.dtype(ml_dtypes.int4)),
}
"""Asymmetric and symmetric blocks, by bits: the signed types need no zero point."""


class StandardForm:
    """Puts DequantizeLinear nodes before the readers of a matrix.

    Args:
        model: Changed in place; of opset 21 or newer.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names = rewire.Names(model)

    def insert(self, table: Table, matrix: BlockMatrix) -> None:
        """Let every use of ``table`` read ``matrix``; the integers are stored once an order."""
        made: dict[bool, ir.Value] = {}
        is_shared = any(use.looks_up for use in table.uses)
        for use in table.uses if is_shared else map(_as_second_factor, table.uses):
            if use.turned not in made:
                made[use.turned] = self._dequantized(use, table.name, matrix)
            use.node.replace_input_with(use.input, made[use.turned])

    def _dequantized(self, use: Use, name: str, matrix: BlockMatrix) -> ir.Value:
        graph, bits = self._model.graph, matrix.spec.bits
        affine, signed = _TYPES[bits]
        dtype = signed if matrix.spec.symmetric else affine
        flat = matrix.codes.reshape(matrix.rows, -1)[:, : matrix.columns]
        codes = standard_codes(matrix) if use.turned else flat
        scales = _turned(matrix.grid.scale, use)
        inputs = [
            self._constant(f"{name}_q{bits}", _as(codes, dtype, matrix)),
            self._constant(f"{name}_scales", scales),
        ]
        if not matrix.spec.symmetric:
            zeros = _turned(matrix.grid.zero_point, use).astype(np.uint8)
            inputs.append(self._constant(f"{name}_zero_points", _as(zeros, dtype, matrix)))
        axis = 0 if use.turned else 1
        node = ir.node("DequantizeLinear", inputs, {"axis": axis, "block_size": matrix.spec.size})
        node.name = self._names.node(f"{name}_DequantizeLinear")
        result = node.outputs[0]
        result.name = self._names.value(f"{name}_dequantized")
        result.type = ir.TensorType(ir.DataType.FLOAT)
        result.shape = ir.Shape(codes.shape)
        reader = use.node if use.node.graph is graph else graph[0]
        graph.insert_before(reader, [node])
        return result

    def _constant(self, name: str, data: Array) -> ir.Value:
        return rewire.add_initializer(self._model.graph, self._names.value(name), data)


def _as_second_factor(use: Use) -> Use:
    """The use, with the matrix not transposed by Gemm: onnxruntime (1.31) lets that be as it is."""
    if is_op(use.node, "Gemm") and not use.turned:
        use.node.attributes.pop("transB")
        return replace(use, turned=True)
    return use


def _turned(data: Array, use: Use) -> Array:
    return np.ascontiguousarray(data.T) if use.turned else data


def _as(codes: Array, dtype: np.dtype[np.generic], matrix: BlockMatrix) -> Array:
    """Integers from 0 in the stored type; signed ones count from the middle."""
    shifted = codes.astype(np.int16)
    if matrix.spec.symmetric:
        shifted -= matrix.spec.middle
    return shifted.astype(np.int8 if matrix.spec.symmetric else np.uint8).astype(dtype)
