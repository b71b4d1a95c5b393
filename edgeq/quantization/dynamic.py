"""Nodes that quantize their input while the model runs.

MatMul and Gemm become DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul (-> Add), which ONNX
defines and onnxruntime fuses to DynamicQuantizeMatMul
(onnxruntime/core/optimizer/dynamic_quantize_matmul_fusion.cc). LSTM becomes onnxruntime's
DynamicQuantizeLSTM (onnxruntime/contrib_ops/cpu/quantization/dynamic_quantize_lstm.cc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import MICROSOFT, name_of, node_name
from edgeq.types import QuantParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.quantization.plan import WeightEntry
    from edgeq.quantization.stored import IntegerConstants
    from edgeq.types import Array


def insert_dynamic(
    node: ir.Node, entries: Sequence[WeightEntry], stored: IntegerConstants, model: ir.Model
) -> None:
    """Replace ``node`` by its dynamic form.

    Args:
        node: A MatMul, Gemm or LSTM of the model.
        entries: Numbers of its weights.
        stored: Where integer constants go.
        model: The model, whose opset imports may grow.

    Raises:
        ModelError: A weight is not constant.
    """
    if node.op_type == "LSTM":
        _lstm(node, entries, stored)
        model.graph.opset_imports.setdefault(MICROSOFT, 1)
    else:
        _product(node, entries[0], stored)


def _product(node: ir.Node, entry: WeightEntry, stored: IntegerConstants) -> None:
    graph, data = _graph(node), node.inputs[0]
    weight, source = _weight(node, entry)
    params = entry.params
    transposed_input = node.attributes.get_int("transA", 0) != 0
    turned = node.attributes.get_int("transB", 0) != 0
    if turned:
        weight = weight.T
        params = QuantParams(
            params.scale, params.zero_point, params.dtype, None if params.axis is None else 1
        )
    integers = stored.integers(graph, source, weight, params, turned=turned)
    scale, zero_point = stored.numbers(graph, name_of(source), params)
    name, output = node_name(node), name_of(node.outputs[0])
    made: list[ir.Node] = []

    def add(op: str, inputs: Sequence[ir.Value | None], suffix: str, **attributes: int) -> ir.Value:
        new = ir.node(op, inputs, attributes)
        stored.name(new, f"{output}_{suffix}", ir.DataType.FLOAT)
        made.append(new)
        return new.outputs[0]

    if transposed_input and data is not None:
        data = add("Transpose", [data], "transposed")
    quantize = _dynamic_quantize(data, f"{output}_input", stored)
    made.append(quantize)
    xq, x_scale, x_zero_point = quantize.outputs
    product = add("MatMulInteger", [xq, integers, x_zero_point, zero_point], "product")
    product.producer().name = name  # type: ignore[union-attr]
    product.type = ir.TensorType(ir.DataType.INT32)
    real = add("Cast", [product], "real", to=ir.DataType.FLOAT.value)
    factor = add("Mul", [x_scale, scale], "factor")
    result = add("Mul", [real, factor], "scaled")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        result = add("Add", [result, bias], "biased")
    rewire.replace_node(node, made, [result])


def _dynamic_quantize(data: ir.Value | None, base: str, stored: IntegerConstants) -> ir.Node:
    node = ir.Node("", "DynamicQuantizeLinear", [data], num_outputs=3)
    stored.name(node, f"{base}_quantized", ir.DataType.UINT8)
    for output, suffix, dtype in zip(
        node.outputs[1:],
        ("scale", "zero_point"),
        (ir.DataType.FLOAT, ir.DataType.UINT8),
        strict=True,
    ):
        stored.name_value(output, f"{base}_{suffix}", dtype)
    return node


def _lstm(node: ir.Node, entries: Sequence[WeightEntry], stored: IntegerConstants) -> None:
    """W [directions, 4 hidden, in] and R are stored transposed."""
    graph = _graph(node)
    inputs = [*node.inputs, *([None] * (8 - len(node.inputs)))]
    quantized: list[ir.Value | None] = []
    for entry in entries:
        weight, source = _weight(node, entry)
        data, params = np.ascontiguousarray(weight.transpose(0, 2, 1)), _turned(entry.params)
        inputs[entry.edge.input] = stored.integers(graph, source, data, params, turned=True)
        quantized += _lstm_numbers(graph, name_of(source), entry.params, weight.shape, stored)
    new = ir.Node(
        MICROSOFT,
        "DynamicQuantizeLSTM",
        [*inputs, *quantized],
        attributes=[a for a in node.attributes.values() if a.name != "layout"],
        num_outputs=len(node.outputs),
    )
    new.name = node_name(node)
    for old, fresh in zip(node.outputs, new.outputs, strict=True):
        if old.name:
            stored.name_value(fresh, f"{old.name}_dynamic", ir.DataType.FLOAT)
        else:
            fresh.name = ""
    rewire.replace_node(node, [new], list(new.outputs))


def _turned(params: QuantParams) -> QuantParams:
    """Numbers of W or R once its last two axes have changed places."""
    axis = params.axis if params.axis in (None, 0) else 3 - params.axis
    return QuantParams(params.scale, params.zero_point, params.dtype, axis)


def _lstm_numbers(
    graph: ir.Graph,
    name: str,
    params: QuantParams,
    shape: tuple[int, ...],
    stored: IntegerConstants,
) -> list[ir.Value]:
    """Scale and zero point as the operator takes them: [directions, 4 hidden] or [directions].

    Source: onnxruntime/contrib_ops/cpu/quantization/dynamic_quantize_lstm.cc. Gate rows of unlike
    ranges make the former worth several dB, at the same speed.
    """
    wanted = shape[:2] if params.axis == 1 else shape[:1]
    scale = np.broadcast_to(params.scale, wanted)
    zero_point = np.broadcast_to(params.zero_point, wanted).astype(params.dtype.numpy)
    return [
        stored.constant(graph, f"{name}_scale", scale),
        stored.constant(graph, f"{name}_zero_point", zero_point),
    ]


def _graph(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise ModelError("it belongs to no graph", where=f"node {node.name!r}")
    return node.graph


def _weight(node: ir.Node, entry: WeightEntry) -> tuple[Array, ir.Value]:
    source = node.inputs[entry.edge.input]
    data = constants.array(source)
    if data is None or source is None:
        raise ModelError("the plan quantizes a weight that is no constant", where=str(entry.edge))
    return data, source
