"""Integer constants in the graph: each stored once, however many uses share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire
from edgeq.graph.walk import name_of
from edgeq.quantization import affine

if TYPE_CHECKING:
    from edgeq.types import Array, QuantParams


class IntegerConstants:
    """Adds integer constants, scales and zero points to a model.

    Two uses of one constant with the same numbers share what is stored; with different numbers
    each gets its own.

    Args:
        model: The model to add to.
    """

    def __init__(self, model: ir.Model) -> None:
        self._names = rewire.Names(model)
        self._made: dict[tuple[object, ...], ir.Value] = {}

    def dequantized(
        self, graph: ir.Graph, source: ir.Value, data: Array, params: QuantParams
    ) -> ir.Value:
        """``data`` in integers behind a DequantizeLinear in ``graph``; what the latter writes."""
        key = ("dequantized", graph, source, data.shape, *_fingerprint(params))
        if key not in self._made:
            self._made[key] = self._dequantize(graph, source, data, params)
        return self._made[key]

    def _dequantize(
        self, graph: ir.Graph, source: ir.Value, data: Array, params: QuantParams
    ) -> ir.Value:
        name = name_of(source)
        integers = self.integers(graph, source, data, params)
        scale, zero_point = self.numbers(graph, name, params)
        attributes = {} if params.axis is None else {"axis": params.axis}
        node = ir.node("DequantizeLinear", [integers, scale, zero_point], attributes)
        self.name(node, f"{name}_dequantized", ir.DataType.FLOAT)
        node.outputs[0].shape = ir.Shape(data.shape)
        if len(graph):
            graph.insert_before(graph[0], [node])
        else:
            graph.append(node)
        return node.outputs[0]

    def integers(
        self,
        graph: ir.Graph,
        source: ir.Value,
        data: Array,
        params: QuantParams,
        *,
        turned: bool = False,
    ) -> ir.Value:
        """The integers of ``data`` as an initializer of ``graph``.

        Args:
            graph: Where they are read.
            source: The constant that they stand for.
            data: Its numbers.
            params: What they are stored with.
            turned: Whether axes of ``data`` have changed places, which neither shape nor scales
                need tell.
        """
        key = ("integers", graph, source, data.shape, turned, *_fingerprint(params))
        if key not in self._made:
            name = self._names.value(f"{name_of(source)}_quantized")
            self._made[key] = rewire.add_initializer(graph, name, affine.quantize(data, params))
        return self._made[key]

    def numbers(self, graph: ir.Graph, base: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        """Scale and zero point as initializers of ``graph``."""
        key = ("scale", graph, *_fingerprint(params))
        zero_key = ("zero_point", graph, *_fingerprint(params))
        if key not in self._made:
            self._made[key] = self.constant(graph, f"{base}_scale", params.scale)
            zero_point = params.zero_point.astype(params.dtype.numpy)
            self._made[zero_key] = self.constant(graph, f"{base}_zero_point", zero_point)
        return self._made[key], self._made[zero_key]

    def constant(self, graph: ir.Graph, name: str, data: Array) -> ir.Value:
        """A new initializer of ``graph`` called ``name`` or alike."""
        return rewire.add_initializer(graph, self._names.value(name), np.asarray(data))

    def name(self, node: ir.Node, output: str, dtype: ir.DataType) -> None:
        """Name a new node after its first output, and give that its type."""
        node.name = self._names.node(f"{output}_{node.op_type}")
        self.name_value(node.outputs[0], output, dtype)

    def name_value(self, value: ir.Value, wanted: str, dtype: ir.DataType) -> None:
        """Give a new value a free name and its type."""
        value.name = self._names.value(wanted)
        value.type = ir.TensorType(dtype)


def _fingerprint(params: QuantParams) -> tuple[object, ...]:
    return (params.scale.tobytes(), params.zero_point.tobytes(), params.dtype, params.axis)
