"""Computes once what the graph computes twice, and stores once what it stores twice.

onnx-ir has both as passes; they leave bodies of If alone, merge two Bernoulli nodes into one draw,
let readers read an output that the other node omits, and log each input that has a default. Hence
this one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

_Key: TypeAlias = "tuple[Hashable, ...]"

_DRAWS = (
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
    "Bernoulli", "Dropout",
)  # fmt: skip

_LARGEST = 4_000_000
"""Bytes up to which tensors are compared: beyond it reading them costs more than it brings."""


def merge_duplicates(model: ir.Model) -> Outcome:
    """Merge equal initializers, then nodes that do the same to the same inputs."""
    changes = 0
    for graph in model.graphs():
        changes += sum(_merge_initializers(graph))
        changes += sum(_merge_nodes(graph))
    return Outcome(changes)


def _merge_initializers(graph: ir.Graph) -> Iterator[bool]:
    kept: dict[_Key, ir.Value] = {}
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if value.is_graph_input() or value.is_graph_output() or tensor is None or not value.name:
            continue
        key = _tensor_key(tensor)
        if key is None or (first := kept.setdefault(key, value)) is value:
            continue
        rewire.redirect([(u.node, u.idx) for u in value.uses()], first)
        del graph.initializers[value.name]
        yield True


def _tensor_key(tensor: ir.TensorProtocol) -> _Key | None:
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes > _LARGEST:
        return None
    digest = hashlib.sha256(tensor.tobytes()).digest()
    return (tensor.dtype, tuple(tensor.shape), digest)


def _merge_nodes(graph: ir.Graph) -> Iterator[bool]:
    kept: dict[_Key, ir.Node] = {}
    for node in graph:
        key = _node_key(node)
        if key is None or (first := kept.setdefault(key, node)) is node:
            continue
        if _must_stay(node, first):
            continue
        for old, new in zip(node.outputs, first.outputs, strict=True):
            rewire.take_place(old, new)
        rewire.remove(node)
        yield True


def _must_stay(node: ir.Node, first: ir.Node) -> bool:
    """Whether merging would only trade a node for an Identity behind the other one."""
    pairs = zip(node.outputs, first.outputs, strict=True)
    return any(
        old.is_graph_output() and (new.is_graph_output() or is_op(node, "Identity"))
        for old, new in pairs
    )


def _node_key(node: ir.Node) -> _Key | None:
    """What makes two nodes compute the same; None for nodes that are never merged."""
    if is_op(node, *_DRAWS) or not node.outputs or next(walk.subgraphs(node), None) is not None:
        return None
    attributes = []
    for name in sorted(node.attributes):
        key = _attribute_key(node.attributes[name])
        if key is None:
            return None
        attributes.append((name, key))
    omitted = tuple(bool(v.name) for v in node.outputs)
    inputs = tuple(id(v) for v in node.inputs)
    return (node.op_identifier(), inputs, omitted, tuple(attributes))


def _attribute_key(attribute: ir.Attr) -> _Key | None:
    if attribute.is_ref():
        return None
    if attribute.type == ir.AttributeType.TENSOR:
        return _tensor_key(attribute.as_tensor())
    plain = {
        ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING,
        ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS,
    }  # fmt: skip
    return (attribute.type, repr(attribute.value)) if attribute.type in plain else None
