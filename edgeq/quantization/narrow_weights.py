"""Weights stored as narrower floats: half the bytes, arithmetic in float32.

A Cast to float32 stands behind each constant. onnxruntime's CPU provider has no arithmetic of
bfloat16 (1.31: MatMul, Conv and Add are NOT_IMPLEMENTED), and of float16 on few chips, but converts
both: it computes the constants once, while it loads the model, so that the file is half as long and
everything else as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs, rewire
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization.half_range import beyond_half
from edgeq.quantization.plan import NodeDecision, NodeForm

if TYPE_CHECKING:
    from collections.abc import Collection, Container

    from edgeq.recipe import Recipe
    from edgeq.types import Array

_HALVES: Final = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

_FEWEST: Final = 256
"""Numbers below which a constant stays as it is: a Cast takes as many bytes."""


def store_as_bfloat16(model: ir.Model, recipe: Recipe) -> tuple[NodeDecision, ...]:
    """Store the constants of a model as bfloat16.

    Args:
        model: A prepared model; changed in place. Its interface and its arithmetic stay float32.
        recipe: Names what keeps its weights.

    Returns:
        What became of every node that reads weights.
    """
    readers = {node: found for node in nodes(model) if (found := _weights(node))}
    kept = {
        value: "excluded by the user"
        for node, found in readers.items()
        for value in found
        if recipe.excludes(node_name(node), node.op_type)
    }
    return _store_all(model, readers, kept, ir.DataType.BFLOAT16)


def store_as_float16(model: ir.Model, but_of: Container[str]) -> tuple[NodeDecision, ...]:
    """Store the weights of layers and embeddings that compute in float as float16.

    Other constants are few, and may be places, of which float16 knows whole ones only beyond 1024.

    Args:
        model: A model whose other layers have their weights in integers; changed in place. Its
            interface and its arithmetic stay float32.
        but_of: Names of nodes that compute in integers.

    Returns:
        What became of every other node that reads such weights.
    """
    left = [node for node in nodes(model) if node_name(node) not in but_of]
    layers = [node for node in left if is_op(node, "Gather") or _is_plain(node)]
    readers = {node: found for node in layers if (found := _weights(node))}
    kept = {}
    for value in dict.fromkeys(v for found in readers.values() for v in found):
        data = constants.array(value)
        why = "" if data is None else beyond_half(name_of(value), data)
        if why:
            kept[value] = why
    return _store_all(model, readers, kept, ir.DataType.FLOAT16)


def store_as_given(model: ir.Model, original: ir.Model) -> None:
    """Store constants in half precision where those of the original are and no digit is lost.

    Layers in half precision are prepared in float32; what nothing then changed is as long again
    as it was. That stands in front of plain operators only: others may want what they read stored.

    Args:
        model: What was made of the original; changed in place. Its arithmetic stays float32.
        original: The model as it was given.
    """
    for kind in _HALVES & _stored_kinds(original):
        readers = {n: found for n in nodes(model) if n.domain == "" and (found := _weights(n))}
        kept = {
            value: "it has more digits"
            for value in dict.fromkeys(v for found in readers.values() for v in found)
            if not _holds(kind, constants.array(value))
        }
        _store_all(model, readers, kept, kind)


def came_halved(model: ir.Model) -> bool:
    """Whether constants of a model as it was given are in half precision."""
    return not _HALVES.isdisjoint(_stored_kinds(model))


def _stored_kinds(model: ir.Model) -> set[ir.DataType]:
    """The types of the constants that are worth storing in fewer bytes."""
    read = (constants.tensor(value) for node in nodes(model) for value in node.inputs)
    return {tensor.dtype for tensor in read if tensor is not None and tensor.size >= _FEWEST}


def _holds(kind: ir.DataType, data: Array | None) -> bool:
    """Whether a narrower type holds numbers as they are."""
    if data is None:
        return False
    with np.errstate(over="ignore"):
        return np.array_equal(data.astype(kind.numpy()).astype(np.float32), data)


def _is_plain(node: ir.Node) -> bool:
    """Whether a node multiplies, by an operator of the ONNX standard."""
    return node.domain == "" and macs.is_compute(node)


def _store_all(
    model: ir.Model,
    readers: dict[ir.Node, list[ir.Value]],
    kept: dict[ir.Value, str],
    kind: ir.DataType,
) -> tuple[NodeDecision, ...]:
    """Store what nodes read, but for some values, each with the reason."""
    names = rewire.Names(model)
    for value in dict.fromkeys(v for found in readers.values() for v in found):
        if value not in kept:
            _store(value, readers.keys(), kind, names)
    rewire.drop_unused_initializers(model)
    stored = f"its weights are {kind.name.lower()}, its arithmetic is float32"
    return tuple(
        NodeDecision(node_name(node), node.op_type, NodeForm.FLOAT, kept[found[0]])
        if kept.keys() >= set(found)
        else NodeDecision(node_name(node), node.op_type, NodeForm.STORED, stored)
        for node, found in readers.items()
    )


def _weights(node: ir.Node) -> list[ir.Value]:
    """The constants of float32 that a node reads and that are worth it."""
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return []
    found = []
    for value in node.inputs:
        tensor = constants.tensor(value)
        if value is None or tensor is None or not value.is_initializer():
            continue
        if tensor.dtype is ir.DataType.FLOAT and tensor.size >= _FEWEST:
            found.append(value)
    return found


def _store(
    value: ir.Value, readers: Collection[ir.Node], kind: ir.DataType, names: rewire.Names
) -> None:
    """Let some nodes read a narrow constant and a Cast in the place of one of float32."""
    plain, graph = constants.tensor(value), value.graph
    if plain is None or not isinstance(graph, ir.Graph):
        raise ValueError(f"{name_of(value)!r} is no constant of a graph")
    uses = [(use.node, use.idx) for use in value.uses() if use.node in readers]
    narrow = _narrow(plain, kind, names.value(f"{name_of(value)}_{kind.name.lower()}"))
    node = ir.node("Cast", [rewire.add_tensor(graph, narrow)], {"to": ir.DataType.FLOAT.value})
    node.name = names.node(f"{name_of(value)}_float")
    made = node.outputs[0]
    made.name = names.value(f"{name_of(value)}_float")
    made.type, made.shape = value.type, value.shape
    graph.insert_before(graph[0], node)
    rewire.redirect(uses, made)


def _narrow(plain: ir.TensorProtocol, kind: ir.DataType, name: str) -> ir.LazyTensor:
    """Rounded when it is asked for, so that nothing is kept in memory."""

    def made() -> ir.TensorProtocol:
        return ir.Tensor(plain.numpy().astype(kind.numpy()), name=name)

    shape = ir.Shape(list(plain.shape.numpy()))
    return ir.LazyTensor(made, dtype=kind, shape=shape, name=name)
