"""Matrices in blocks as onnxruntime's own operators: MatMulNBits and GatherBlockQuantized.

Schemas: onnxruntime/core/graph/contrib_ops/contrib_defs.cc, version 1.31. Both read the same
bytes, so that an embedding and the output layer that is tied to it share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.walk import MICROSOFT, node_name
from edgeq.weight_only import packing

if TYPE_CHECKING:
    from edgeq.weight_only.blocks import BlockMatrix
    from edgeq.weight_only.tables import Table, Use


ACCURACY_LEVEL: Final = 4
"""Inputs are rounded to 8 bits, block by block, while the model runs (46 dB SQNR a layer). Without
it onnxruntime 1.31 has fast kernels for 4 bits only, and those take three times as long."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """The constants of one table."""

    codes: ir.Value
    scales: ir.Value
    zero_points: ir.Value | None


class OperatorForm:
    """Puts operators that read blocks into a model.

    Args:
        model: Changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names = rewire.Names(model)

    def insert(self, table: Table, matrix: BlockMatrix) -> None:
        """Let every use of ``table`` read ``matrix``."""
        self._model.graph.opset_imports.setdefault(MICROSOFT, 1)
        products = [use for use in table.uses if not use.looks_up]
        lookups = [use for use in table.uses if use.looks_up]
        stored = self._store(table.name, matrix, flat=bool(lookups))
        for use in lookups:
            self._look_up(use, stored, matrix)
        if products:
            codes = stored.codes
            if lookups:
                codes = self._in_blocks(table.name, codes, matrix)
            for use in products:
                self._multiply(use, codes, stored, matrix)

    def _store(self, name: str, matrix: BlockMatrix, *, flat: bool) -> _Stored:
        graph, bits = self._model.graph, matrix.spec.bits
        data = packing.packed_codes(matrix)
        zeros = packing.packed_zero_points(matrix)
        if flat:
            data = data.reshape(matrix.rows, -1)
        return _Stored(
            rewire.add_initializer(graph, self._names.value(f"{name}_q{bits}"), data),
            rewire.add_initializer(graph, self._names.value(f"{name}_scales"), matrix.grid.scale),
            None
            if zeros is None
            else rewire.add_initializer(graph, self._names.value(f"{name}_zero_points"), zeros),
        )

    def _in_blocks(self, name: str, codes: ir.Value, matrix: BlockMatrix) -> ir.Value:
        """The rows of a looked-up table, block by block: onnxruntime reshapes it on loading."""
        graph = self._model.graph
        shape = np.asarray([matrix.rows, matrix.codes.shape[1], -1], np.int64)
        wanted = rewire.add_initializer(graph, self._names.value(f"{name}_blocks"), shape)
        node = ir.node("Reshape", [codes, wanted])
        node.name = self._names.node(f"{name}_in_blocks")
        made = node.outputs[0]
        made.name = self._names.value(f"{name}_in_blocks")
        made.type = ir.TensorType(ir.DataType.UINT8)
        graph.insert_before(graph[0], [node])
        return made

    def _look_up(self, use: Use, stored: _Stored, matrix: BlockMatrix) -> None:
        node = ir.node(
            "GatherBlockQuantized",
            [stored.codes, use.node.inputs[1], stored.scales, stored.zero_points],
            {
                "bits": matrix.spec.bits,
                "block_size": matrix.spec.size,
                "gather_axis": 0,
                "quantize_axis": 1,
            },
            domain=MICROSOFT,
        )
        self._replace(use.node, node)

    def _multiply(self, use: Use, codes: ir.Value, stored: _Stored, matrix: BlockMatrix) -> None:
        bias = use.node.inputs[2] if len(use.node.inputs) > 2 else None
        inputs = [use.node.inputs[0], codes, stored.scales, stored.zero_points]
        rest: list[ir.Node] = []
        taken = self._bias(bias, matrix.rows)
        if taken is not None:
            inputs += [None, taken]
        node = ir.node(
            "MatMulNBits",
            inputs,
            {
                "K": matrix.columns,
                "N": matrix.rows,
                "bits": matrix.spec.bits,
                "block_size": matrix.spec.size,
                "accuracy_level": ACCURACY_LEVEL,
            },
            domain=MICROSOFT,
        )
        if bias is not None and taken is None:
            product = node.outputs[0]
            product.name = self._names.value(f"{node_name(use.node)}_product")
            product.type = ir.TensorType(ir.DataType.FLOAT)
            added = ir.node("Add", [product, bias])
            added.name = self._names.node(f"{node_name(use.node)}_bias")
            rest.append(added)
        self._replace(use.node, node, *rest)

    def _bias(self, bias: ir.Value | None, rows: int) -> ir.Value | None:
        """A bias as the operator takes it, one number a row; None where it has to be added."""
        tensor = constants.tensor(bias)
        if bias is None or tensor is None or tensor.size != rows:
            return None
        if tuple(tensor.shape.numpy()) == (rows,):
            return bias
        if int(tensor.shape.numpy()[-1]) != rows:
            return None
        name = self._names.value(f"{bias.name}_flat")
        return rewire.add_initializer(self._model.graph, name, tensor.numpy().reshape(rows))

    def _replace(self, old: ir.Node, new: ir.Node, *rest: ir.Node) -> None:
        name = node_name(old)
        last = rest[-1] if rest else new
        last.outputs[0].name = self._names.value(f"{name}_in_blocks_output")
        rewire.replace_node(old, [new, *rest], [last.outputs[0]])
        new.name = name
