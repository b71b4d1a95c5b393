"""Products between Q/DQ of float8 (E4M3FN): one scale for an input, one for each output channel.

What a product reads is rounded to float8 and back, its weights are stored as float8: a runtime with
kernels for float8 (TensorRT on GPUs from compute capability 8.9) multiplies those, which it reads
through DequantizeLinear. onnxruntime's CPU provider runs the pairs and products in float32, which
gives the same numbers later, where it is told not to fuse them (``TargetProfile.with_float8``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs, rewire
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.passes import layer as layers
from edgeq.quantization.plan import NodeDecision, NodeForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.recipe import Recipe
    from edgeq.types import Array, FloatArray

LARGEST: Final = 448.0
"""The largest number of E4M3FN (Micikevicius et al., "FP8 Formats for Deep Learning", 2022)."""

MINIMUM_OPSET: Final = 21
"""From which QuantizeLinear says by an attribute what it makes. By the type of a zero point it can
from 19 on, but in front of that onnxruntime (1.31) drops a Relu, as if nothing were below zero."""

_FLOAT8: Final = ir.DataType.FLOAT8E4M3FN
_REASON: Final = "it reads float8, its arithmetic here is float32"


def read_by_products(model: ir.Model, recipe: Recipe) -> tuple[str, ...]:
    """Names of the values whose largest numbers :func:`quantize_to_float8` wants to know."""
    found = (node.inputs[0] for node in nodes(model) if not _obstacle(node, model, recipe))
    return tuple(dict.fromkeys(name_of(value) for value in found if value is not None))


def quantize_to_float8(
    model: ir.Model, recipe: Recipe, largest: Mapping[str, float]
) -> tuple[NodeDecision, ...]:
    """Let products with constant weights read float8.

    Args:
        model: A prepared model of opset 21 at least; changed in place.
        recipe: Names what stays float.
        largest: By value, the largest magnitude that samples bring.

    Returns:
        What became of every node that multiplies.
    """
    pairs = _Pairs(model, largest)
    decisions = []
    for node in [each for each in nodes(model) if macs.is_compute(each)]:
        why = _obstacle(node, model, recipe)
        value = node.inputs[0]
        if not why and (value is None or not largest.get(name_of(value), 0.0) > 0.0):
            why = "no sample shows how large its inputs get"
        if not why:
            pairs.insert(node)
        form = NodeForm.FLOAT if why else NodeForm.STORED
        decisions.append(NodeDecision(node_name(node), node.op_type, form, why or _REASON))
    rewire.drop_unused_initializers(model)
    return tuple(decisions)


def _obstacle(node: ir.Node, model: ir.Model, recipe: Recipe) -> str:
    """Why a node keeps float inputs and weights; empty where it need not."""
    if not macs.is_compute(node):
        return "it multiplies nothing"
    if recipe.excludes(node_name(node), node.op_type):
        return "excluded by the user"
    if node.graph is not model.graph:
        return "it is in a body, whose values are not looked at"
    found = layers.read(node)
    if not isinstance(found, layers.Layer):
        return found or "its weights are computed, not constant"
    if found.dtype != np.float32:
        return "its weights are not float32"
    return ""


class _Pairs:
    """Puts Q/DQ in front of products, one for each value and weight."""

    def __init__(self, model: ir.Model, largest: Mapping[str, float]) -> None:
        self._graph = model.graph
        self._names = rewire.Names(model)
        self._largest = largest
        self._rounded: dict[ir.Value, ir.Value] = {}
        self._stored: dict[tuple[ir.Value, int | None], ir.Value] = {}

    def insert(self, node: ir.Node) -> None:
        """Let a product read float8."""
        value, weight, axis = node.inputs[0], node.inputs[1], _axis(node)
        if value is None or weight is None:
            raise ValueError(f"{node_name(node)!r} reads nothing")
        if value not in self._rounded:
            self._rounded[value] = self._round(value)
        if (weight, axis) not in self._stored:
            self._stored[weight, axis] = self._store(weight, axis)
        node.replace_input_with(0, self._rounded[value])
        node.replace_input_with(1, self._stored[weight, axis])

    def _round(self, value: ir.Value) -> ir.Value:
        name = name_of(value)
        scale = self._constant(f"{name}_scale", np.float32(self._largest[name] / LARGEST))
        into = ir.node("QuantizeLinear", [value, scale], {"output_dtype": _FLOAT8.value})
        narrow = self._named(into, f"{name}_float8", _FLOAT8, value.shape)
        back = ir.node("DequantizeLinear", [narrow, scale])
        wide = self._named(back, f"{name}_rounded", ir.DataType.FLOAT, value.shape)
        rewire.insert_after(value, [into, back], self._graph)
        return wide

    def _store(self, weight: ir.Value, axis: int | None) -> ir.Value:
        name, data = name_of(weight), constants.array(weight)
        if data is None:
            raise ValueError(f"{name!r} is no constant")
        scale, codes = _float8(data.astype(np.float32, copy=False), axis)
        inputs = [self._constant(f"{name}_float8", codes), self._constant(f"{name}_scale", scale)]
        back = ir.node("DequantizeLinear", inputs, {} if axis is None else {"axis": axis})
        wide = self._named(back, f"{name}_rounded", ir.DataType.FLOAT, weight.shape)
        self._graph.insert_before(self._graph[0], back)
        return wide

    def _constant(self, name: str, data: Array | np.generic) -> ir.Value:
        return rewire.add_initializer(self._graph, self._names.value(name), np.asarray(data))

    def _named(
        self, node: ir.Node, name: str, kind: ir.DataType, shape: ir.Shape | None
    ) -> ir.Value:
        made = node.outputs[0]
        made.name, node.name = self._names.value(name), self._names.node(name)
        made.type, made.shape = ir.TensorType(kind), shape
        return made


def _axis(node: ir.Node) -> int | None:
    """Axis of the output channels in the weights; None where they are not one axis."""
    if is_op(node, "Conv"):
        return 0
    if is_op(node, "ConvTranspose"):
        return 1 if node.attributes.get_int("group", 1) == 1 else None
    turned = is_op(node, "Gemm") and node.attributes.get_int("transB", 0) != 0
    return 0 if turned else 1


def _float8(data: FloatArray, axis: int | None) -> tuple[Array, Array]:
    """Scales, float32 [channels] or a scalar, and the numbers of float8."""
    others = None if axis is None else tuple(i for i in range(data.ndim) if i != axis)
    size = np.abs(data).max(axis=others, keepdims=axis is not None)
    scale = np.where(size > 0, size / LARGEST, 1.0).astype(np.float32)
    # What lies beyond the largest number by a rounding error of the division would be NaN.
    codes = np.clip(data / scale, -LARGEST, LARGEST).astype(_FLOAT8.numpy())
    return scale.reshape(-1) if axis is not None else scale.reshape(()), codes
