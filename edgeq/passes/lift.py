"""How layers that compute in another float type come to compute in float32.

The interface stays: a Cast behind each input and in front of each output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs, rewire, walk
from edgeq.graph.walk import MICROSOFT, is_op, name_of
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.graph.rewire import Names

    Kinds = frozenset[ir.DataType]

_FLOAT = int(ir.DataType.FLOAT)
_DOMAINS = frozenset({"", "ai.onnx", MICROSOFT})
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


def lift_layers(model: ir.Model, kinds: Kinds) -> Outcome:
    """Turn those of some float types that layers compute in into float32.

    Args:
        model: Changed in place, all of it: layers share values with what is around them.
        kinds: The types.
    """
    kinds &= _computed_kinds(model)
    if not kinds:
        return Outcome()
    obstacle = next(_obstacles(model, kinds), None)
    if obstacle is not None:
        return Outcome(declined=(obstacle,))
    names = rewire.Names(model)
    _cast_inputs(model.graph, kinds, names)
    _cast_outputs(model.graph, kinds, names)
    kept = {*model.graph.inputs, *model.graph.outputs}
    kept_nodes = {value.producer() for value in model.graph.outputs}
    for graph in model.graphs():
        _retype(graph, kinds, kept)
    for node in walk.nodes(model):
        if node not in kept_nodes or not is_op(node, "Cast"):
            lift_attributes(node, kinds)
    spelled = " and ".join(sorted(kind.name.lower() for kind in kinds))
    return Outcome(1, notes=(f"Layers in {spelled} compute in float32; inputs and outputs stay",))


def _computed_kinds(model: ir.Model) -> Kinds:
    """The types of what the model's layers read and write."""
    return frozenset(
        value.dtype
        for node in walk.nodes(model)
        if macs.is_compute(node)
        for value in (*node.inputs, *node.outputs)
        if value is not None and value.dtype is not None
    )


def _obstacles(model: ir.Model, kinds: Kinds) -> Iterator[str]:
    for node in walk.nodes(model):
        values = [v for v in (*node.inputs, *node.outputs) if v is not None]
        if node.domain not in _DOMAINS and any(v.dtype in kinds for v in values):
            yield f"{where(node)}: an operator of {node.domain} may need {_spelled(kinds)}"
        if any(v.dtype in kinds and not isinstance(v.type, ir.TensorType) for v in values):
            yield f"{where(node)}: it holds sequences of {_spelled(kinds)}"
        if any(attribute.is_ref() for attribute in node.attributes.values()):
            yield f"{where(node)}: it takes attributes of the function it is in"
    for value in walk.values(model).values():
        if ir.DataType.DOUBLE in kinds and not _fits(value):
            yield f"constant {value.name!r} holds numbers beyond float32"


def _spelled(kinds: Kinds) -> str:
    return " or ".join(sorted(kind.name.lower() for kind in kinds))


def _fits(value: ir.Value) -> bool:
    tensor = constants.tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.DOUBLE:
        return True
    data = tensor.numpy()
    finite = data[np.isfinite(data)]
    return not finite.size or bool(np.abs(finite).max() <= np.finfo(np.float32).max)


def _cast_inputs(graph: ir.Graph, kinds: Kinds, names: Names) -> None:
    for value in reversed(list(graph.inputs)):
        uses = list(value.uses())
        if value.dtype not in kinds or not uses or not len(graph):
            continue
        base = f"{name_of(value)}_float"
        wide = edits.add_node(graph[0], "Cast", [value], names, base, {"to": _FLOAT})
        wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
        rewire.redirect([(use.node, use.idx) for use in uses], wide)


def _cast_outputs(graph: ir.Graph, kinds: Kinds, names: Names) -> None:
    for value in dict.fromkeys(graph.outputs):
        if value.dtype not in kinds or value.is_graph_input() or not len(graph):
            continue
        base = f"{name_of(value)}_narrow"
        to = {"to": int(value.dtype)}
        narrow = edits.add_node(graph[-1], "Cast", [value], names, base, to, behind=True)
        rewire.hand_over_output(value, narrow)


def _retype(graph: ir.Graph, kinds: Kinds, kept: set[ir.Value]) -> None:
    """Let the values of a graph be float32, constants with their numbers."""
    produced = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *produced):
        if value.dtype not in kinds or value in kept:
            continue
        tensor = value.const_value
        if tensor is not None:
            value.const_value = widened(tensor)
        value.type = ir.TensorType(ir.DataType.FLOAT)


def widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor in float32."""

    # A large tensor is read and converted only when it is needed.
    def convert() -> ir.TensorProtocol:
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)

    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(convert, dtype=ir.DataType.FLOAT, shape=shape, name=tensor.name)


def lift_attributes(node: ir.Node, kinds: Kinds) -> None:
    """Let attributes that name one of the types, or hold a tensor of one, be of float32."""
    for name in _TYPE_ATTRIBUTES:
        attribute = node.attributes.get(name)
        if attribute is None or attribute.type != ir.AttributeType.INT:
            continue
        if ir.DataType(attribute.as_int()) in kinds:
            node.attributes[name] = ir.AttrInt64(name, _FLOAT)
    value = node.attributes.get("value")
    if value is not None and value.type == ir.AttributeType.TENSOR:
        tensor = value.as_tensor()
        if tensor.dtype in kinds:
            node.attributes["value"] = ir.AttrTensor("value", widened(tensor))
