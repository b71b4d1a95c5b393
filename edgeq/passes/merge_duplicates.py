"""Computes once what the graph computes twice, and stores once what it stores twice.

onnx-ir has both as passes; they leave bodies of If alone, merge two Bernoulli nodes into one draw,
let readers read an output that the other node omits, and log each input that has a default. Hence
this one.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
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

_ONE_EACH = ("QuantizeLinear", "DequantizeLinear")
"""Runtimes look for one of their own at each reader, and merge them themselves where they can."""

_BEGINNING = 1024
"""Elements that are compared before all of them: weights that differ mostly do so there."""


def merge_duplicates(model: ir.Model) -> Outcome:
    """Merge equal initializers, then nodes that do the same to the same inputs."""
    changes = 0
    for graph in model.graphs():
        changes += sum(_merge_initializers(graph))
        changes += sum(_merge_nodes(graph))
    return Outcome(changes)


def _merge_initializers(graph: ir.Graph) -> Iterator[bool]:
    kept: dict[_Key, ir.Value] = {}
    for value in _alike(graph):
        tensor = value.const_value
        if tensor is None or not value.name:
            continue
        if (first := kept.setdefault(_tensor_key(tensor), value)) is value:
            continue
        rewire.redirect([(u.node, u.idx) for u in value.uses()], first)
        del graph.initializers[value.name]
        yield True


def _alike(graph: ir.Graph) -> list[ir.Value]:
    """Initializers that share type, shape and beginning with another: only these are read whole."""
    groups: dict[_Key, list[ir.Value]] = defaultdict(list)
    for value in graph.initializers.values():
        tensor = value.const_value
        mergeable = not (value.is_graph_input() or value.is_graph_output())
        if tensor is not None and mergeable and tensor.dtype != ir.DataType.STRING:
            groups[(tensor.dtype, tuple(tensor.shape))].append(value)
    suspects = []
    for group in groups.values():
        if len(group) > 1:
            begins = Counter(beginnings := [_beginning(value) for value in group])
            suspects += [v for v, b in zip(group, beginnings, strict=True) if begins[b] > 1]
    return suspects


def _beginning(value: ir.Value) -> bytes:
    tensor = value.const_value
    return b"" if tensor is None else tensor.numpy().ravel()[:_BEGINNING].tobytes()


def _tensor_key(tensor: ir.TensorProtocol) -> _Key:
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
    if (
        is_op(node, *_DRAWS, *_ONE_EACH)
        or not node.outputs
        or next(walk.subgraphs(node), None) is not None
    ):
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
        tensor = attribute.as_tensor()
        return None if tensor.dtype == ir.DataType.STRING else _tensor_key(tensor)
    plain = {
        ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING,
        ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS,
    }  # fmt: skip
    return (attribute.type, repr(attribute.value)) if attribute.type in plain else None
