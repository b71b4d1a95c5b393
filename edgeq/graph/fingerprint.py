"""A hash of how a graph is built, so that a value's name means the same value wherever it is."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FEW = 1024
"""Elements of whole-number tensors that count with their values: shapes, axes, indices."""


def fingerprint(model: ir.Model) -> str:
    """SHA-256 over the structure of a model, as 64 hexadecimal digits.

    Covers operators, names, topology, attributes, opsets, types and shapes of inputs, outputs and
    initializers, and the values of small whole-number tensors, bodies included. Float weights
    count with type and shape only: where they were folded, their last bits depend on the machine.
    """
    digest = hashlib.sha256()
    for line in _lines(model):
        digest.update(line.encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def _lines(model: ir.Model) -> Iterator[str]:
    for domain, version in sorted(model.opset_imports.items()):
        yield f"opset {domain!r} {version}"
    yield from _graph(model.graph)
    for function in sorted(model.functions.values(), key=lambda each: each.identifier()):
        yield f"function {function.identifier()!r}"
        yield from _nodes(function)


def _graph(graph: ir.Graph) -> Iterator[str]:
    yield f"inputs {[_value(value) for value in graph.inputs]}"
    for name, value in sorted(graph.initializers.items()):
        yield f"initializer {name!r} {_tensor(value.const_value)}"
    yield from _nodes(graph)
    yield f"outputs {[_value(value) for value in graph.outputs]}"


def _nodes(nodes: Iterable[ir.Node]) -> Iterator[str]:
    for node in nodes:
        reads = [None if value is None else value.name for value in node.inputs]
        writes = [value.name for value in node.outputs]
        yield f"node {(node.domain, node.op_type, node.overload, node.name)} {reads} {writes}"
        for name, attribute in sorted(node.attributes.items()):
            yield f"attribute {name!r} {attribute.type}"
            yield from _attribute(attribute)
    yield "end"


def _attribute(attribute: ir.Attr) -> Iterator[str]:
    kind = ir.AttributeType
    if attribute.is_ref():
        yield f"reference {attribute.ref_attr_name!r}"
    elif attribute.type == kind.GRAPH:
        yield from _graph(attribute.as_graph())
    elif attribute.type == kind.GRAPHS:
        for graph in attribute.as_graphs():
            yield from _graph(graph)
    elif attribute.type == kind.TENSOR:
        yield _tensor(attribute.as_tensor())
    elif attribute.type in (kind.INT, kind.FLOAT, kind.STRING):
        yield repr(attribute.value)
    elif attribute.type in (kind.INTS, kind.FLOATS, kind.STRINGS):
        yield repr(list(attribute.value))


def _value(value: ir.Value) -> tuple[str | None, str, str]:
    return value.name, str(value.dtype), str(value.shape)


def _tensor(tensor: ir.TensorProtocol | None) -> str:
    if tensor is None:
        return "none"
    shape = list(tensor.shape.numpy())
    exact = not tensor.dtype.is_floating_point() and tensor.size <= _FEW
    values = tensor.numpy().tolist() if exact else ""
    return f"{tensor.dtype} {shape} {values}"
