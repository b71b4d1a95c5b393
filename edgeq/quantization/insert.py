"""From a plan to a graph: puts Q/DQ pairs in and takes no decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name, nodes, values
from edgeq.quantization.dynamic import insert_dynamic
from edgeq.quantization.padding import pad_input, with_channels
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.saturating import spell_as_addition
from edgeq.quantization.stored import IntegerConstants

if TYPE_CHECKING:
    from collections.abc import Container

    from edgeq.quantization.plan import ActivationEntry, QuantPlan, WeightEntry

_WEIGHT = 1
"""Input of the layers whose channels are padded."""


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
    padded = {d.node: d.padded for d in plan.decisions if d.padded}
    for entry in plan.weights:
        added = padded.get(entry.edge.node, 0) if entry.edge.input == _WEIGHT else 0
        _weight(_find(by_name, entry.edge.node), entry, stored, added)
    for name, entries in plan.dynamic.items():
        insert_dynamic(_find(by_name, name), entries, stored, copy)
    for name in plan.dropped:
        _drop(_find(by_name, name))
    known = values(copy)
    integer = dict.fromkeys(d.node for d in plan.decisions if d.form is NodeForm.STATIC)
    for activation in plan.activations:
        if activation.value.name not in known:
            raise ModelError(f"the plan names a value {activation.value} that does not exist")
        _activation(known[activation.value.name], activation, by_name, integer, stored)
    for decision in plan.decisions:
        if decision.respelled:
            spell_as_addition(_find(by_name, decision.node), stored)
    for name, count in padded.items():
        pad_input(by_name[name], count, stored)
    rewire.drop_unused_initializers(copy)
    return copy


def _find(by_name: dict[str, ir.Node], name: str) -> ir.Node:
    if name not in by_name:
        raise ModelError(f"the plan names a node {name!r} that does not exist")
    return by_name[name]


def _weight(node: ir.Node, entry: WeightEntry, stored: IntegerConstants, channels: int) -> None:
    """Store one constant use in integers behind a DequantizeLinear, with so many more channels."""
    index = entry.edge.input
    source = node.inputs[index]
    data = constants.array(source)
    if data is None or source is None or not isinstance(node.graph, ir.Graph):
        raise ModelError("the plan quantizes a weight that is no constant", where=str(entry.edge))
    if entry.params.axis is None and data.ndim == 0:
        data = data.reshape(())
    data = with_channels(data, channels)
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
    integer: Container[str],
    stored: IntegerConstants,
) -> None:
    """Quantize a value once, where it is made, and let its readers read what is dequantized.

    A body whose integer nodes read the value gets a DequantizeLinear of its own, because no
    runtime fuses across the border of a body; float nodes in bodies read the outer one.
    """
    home = _home(value)
    uses = [(use.node, use.idx) for use in value.uses()]
    if entry.readers is not None:
        uses = [(_find(by_name, edge.node), edge.input) for edge in entry.readers]
    handed_out = entry.readers is None and value.is_graph_output()
    readers: dict[ir.Graph, list[tuple[ir.Node, int]]] = {home: []} if handed_out else {}
    for node, index in uses:
        graph = node.graph if node.name in integer and isinstance(node.graph, ir.Graph) else home
        readers.setdefault(graph, []).append((node, index))
    name, quantized = name_of(value), _quantize(value, entry, home, stored)
    for graph, local in readers.items():
        dequantized = _dequantize(quantized, name, entry, graph, stored)
        rewire.redirect(local, dequantized)
        if graph is home and handed_out:
            rewire.hand_over_output(value, dequantized)


def _home(value: ir.Value) -> ir.Graph:
    producer = value.producer()
    graph = value.graph if producer is None else producer.graph
    if not isinstance(graph, ir.Graph):
        raise ModelError(f"value {value.name!r} belongs to no graph")
    return graph


def _quantize(
    value: ir.Value, entry: ActivationEntry, graph: ir.Graph, stored: IntegerConstants
) -> ir.Value:
    """QuantizeLinear right behind what makes ``value``; returns the integers."""
    name = name_of(value)
    node = ir.Node("", "QuantizeLinear", [value, *stored.numbers(graph, name, entry.params)])
    stored.name(node, f"{name}_quantized", ir.DataType.from_numpy(entry.params.dtype.numpy))
    node.outputs[0].shape = value.shape
    rewire.insert_after(value, [node], graph)
    return node.outputs[0]


def _dequantize(
    quantized: ir.Value,
    name: str,
    entry: ActivationEntry,
    graph: ir.Graph,
    stored: IntegerConstants,
) -> ir.Value:
    """DequantizeLinear in ``graph``; returns the reals."""
    node = ir.Node("", "DequantizeLinear", [quantized, *stored.numbers(graph, name, entry.params)])
    stored.name(node, f"{name}_dequantized", ir.DataType.FLOAT)
    node.outputs[0].shape = quantized.shape
    rewire.insert_after(quantized, [node], graph)
    return node.outputs[0]
