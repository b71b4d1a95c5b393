"""From a plan to a graph: puts Q/DQ pairs in and takes no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name, nodes, values
from edgeq.quantization.dynamic import insert_dynamic
from edgeq.quantization.stored import IntegerConstants

if TYPE_CHECKING:

    from edgeq.quantization.plan import ActivationEntry, QuantPlan, WeightEntry


def insert(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """A copy of ``model`` that runs as ``plan`` says.

    Args:
        model: The prepared model the plan was made for; not changed.
        plan: All numbers.

    Returns:
        The quantized model, with the interface of ``model``.

    Raises:
        ModelError: The plan names nodes or values that the model does not have.
    """
    copy = model.clone()
    by_name = {node_name(node): node for node in nodes(copy)}
    stored = IntegerConstants(copy)
    for entry in plan.weights:
        _weight(_find(by_name, entry.edge.node), entry, stored)
    for name, entries in plan.dynamic.items():
        insert_dynamic(_find(by_name, name), entries, stored, copy)
    for name in plan.dropped:
        _drop(_find(by_name, name))
    known = values(copy)
    for activation in plan.activations:
        if activation.value.name not in known:
            raise ModelError(f"the plan names a value {activation.value} that does not exist")
        _activation(known[activation.value.name], activation, by_name, stored)
    rewire.drop_unused_initializers(copy)
    return copy


def _find(by_name: dict[str, ir.Node], name: str) -> ir.Node:
    if name not in by_name:
        raise ModelError(f"the plan names a node {name!r} that does not exist")
    return by_name[name]


def _weight(node: ir.Node, entry: WeightEntry, stored: IntegerConstants) -> None:
    """Store one constant use in integers behind a DequantizeLinear."""
    index = entry.edge.input
    source = node.inputs[index]
    data = constants.array(source)
    if data is None or source is None or not isinstance(node.graph, ir.Graph):
        raise ModelError("the plan quantizes a weight that is no constant", where=str(entry.edge))
    if entry.params.axis is None and data.ndim == 0:
        data = data.reshape(())
    dequantized = stored.dequantized(node.graph, source, data, entry.params)
    node.replace_input_with(index, dequantized)


def _drop(node: ir.Node) -> None:
    """Take out a Relu or Clip; what it wrote is now what its producer writes."""
    source, result = node.inputs[0], node.outputs[0]
    producer = None if source is None else source.producer()
    if source is None or producer is None or not isinstance(node.graph, ir.Graph):
        raise ModelError("the plan drops a node without a producer", where=node_name(node))
    name = name_of(result)
    rewire.take_place(result, source)
    rewire.remove(node)
    if source.name != name:
        result.name = f"{name}__dropped"
        source.name = name


def _activation(
    value: ir.Value,
    entry: ActivationEntry,
    by_name: dict[str, ir.Node],
    stored: IntegerConstants,
) -> None:
    """Put a Q/DQ pair on a value, in every graph that has readers of it."""
    home = _home(value)
    if entry.readers is None:
        uses = [(use.node, use.idx) for use in value.uses()]
    else:
        uses = [(_find(by_name, edge.node), edge.input) for edge in entry.readers]
    inner: dict[ir.Graph, list[tuple[ir.Node, int]]] = {}
    for node, index in uses:
        if isinstance(node.graph, ir.Graph) and node.graph is not home:
            inner.setdefault(node.graph, []).append((node, index))
    local = [(node, index) for node, index in uses if node.graph is home]
    if entry.readers is None:
        pair = _pair(value, entry, home, stored)
        rewire.redirect(local, pair)
        if value.is_graph_output():
            rewire.take_place(value, pair)
    elif local:
        rewire.redirect(local, _pair(value, entry, home, stored))
    for graph, inside in inner.items():
        rewire.redirect(inside, _pair(value, entry, graph, stored))


def _home(value: ir.Value) -> ir.Graph:
    producer = value.producer()
    graph = value.graph if producer is None else producer.graph
    if not isinstance(graph, ir.Graph):
        raise ModelError(f"value {value.name!r} belongs to no graph")
    return graph


def _pair(
    value: ir.Value, entry: ActivationEntry, graph: ir.Graph, stored: IntegerConstants
) -> ir.Value:
    """QuantizeLinear and DequantizeLinear behind ``value``; returns what the latter writes."""
    name = name_of(value)
    scale, zero_point = stored.numbers(graph, name, entry.params)
    quantize = ir.Node("", "QuantizeLinear", [value, scale, zero_point])
    dequantize = ir.Node("", "DequantizeLinear", [quantize.outputs[0], scale, zero_point])
    stored.name(quantize, f"{name}_quantized", ir.DataType.from_numpy(entry.params.dtype.numpy))
    stored.name(dequantize, f"{name}_dequantized", ir.DataType.FLOAT)
    quantize.outputs[0].shape = dequantize.outputs[0].shape = value.shape
    if _home(value) is graph:
        rewire.insert_after(value, [quantize, dequantize], graph)
    else:
        graph.insert_before(graph[0], [quantize, dequantize])
    return dequantize.outputs[0]
