"""Weights stored as bfloat16: half the bytes with the exponents of float32, arithmetic in float32.

A Cast to float32 stands behind each constant. onnxruntime's CPU provider has no arithmetic of
bfloat16 (1.31: MatMul, Conv and Add are NOT_IMPLEMENTED) but converts it: it computes the constants
once, while it loads the model, so that the file is half as long and everything else as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization.plan import NodeDecision, NodeForm

if TYPE_CHECKING:
    from edgeq.recipe import Recipe

_FEWEST: Final = 256
"""Numbers below which a constant stays as it is: a Cast takes as many bytes."""

_REASON: Final = "its weights are bfloat16, its arithmetic is float32"


def store_as_bfloat16(model: ir.Model, recipe: Recipe) -> tuple[NodeDecision, ...]:
    """Store the weights of a model as bfloat16.

    Args:
        model: A prepared model; changed in place. Its interface and its arithmetic stay float32.
        recipe: Names what keeps its weights.

    Returns:
        What became of every node that reads weights.
    """
    readers = {node: found for node in nodes(model) if (found := _weights(node))}
    kept = {
        value
        for node, found in readers.items()
        for value in found
        if recipe.excludes(node_name(node), node.op_type)
    }
    names = rewire.Names(model)
    for value in dict.fromkeys(v for found in readers.values() for v in found):
        if value not in kept:
            _store(value, names)
    rewire.drop_unused_initializers(model)
    return tuple(
        NodeDecision(node_name(node), node.op_type, NodeForm.FLOAT, "excluded by the user")
        if kept.issuperset(found)
        else NodeDecision(node_name(node), node.op_type, NodeForm.STORED, _REASON)
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


def _store(value: ir.Value, names: rewire.Names) -> None:
    """Put a constant of bfloat16 and a Cast in the place of one of float32."""
    plain, graph = constants.tensor(value), value.graph
    if plain is None or not isinstance(graph, ir.Graph):
        raise ValueError(f"{name_of(value)!r} is no constant of a graph")
    readers = [(use.node, use.idx) for use in value.uses()]
    narrow = _narrow(plain, names.value(f"{name_of(value)}_bfloat16"))
    node = ir.node("Cast", [rewire.add_tensor(graph, narrow)], {"to": ir.DataType.FLOAT.value})
    node.name = names.node(f"{name_of(value)}_float")
    made = node.outputs[0]
    made.name = names.value(f"{name_of(value)}_float")
    made.type, made.shape = value.type, value.shape
    graph.insert_before(graph[0], node)
    rewire.redirect(readers, made)


def _narrow(plain: ir.TensorProtocol, name: str) -> ir.LazyTensor:
    """Rounded when it is asked for, so that nothing is kept in memory."""

    def made() -> ir.TensorProtocol:
        return ir.Tensor(plain.numpy().astype(ir.DataType.BFLOAT16.numpy()), name=name)

    shape = ir.Shape(list(plain.shape.numpy()))
    return ir.LazyTensor(made, dtype=ir.DataType.BFLOAT16, shape=shape, name=name)
