"""Is the graph valid? Asked of models as they come in, and of everything that goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph.naming import definitions, graphs
from edgeq.graph.split import split

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELD_OUT_BYTES = 1024

_RUNTIMES_OWN = ("LayerNormalization", "SimplifiedLayerNormalization")
"""Operators that onnxruntime and its tools write into the ONNX domain at any opset
(onnxruntime/core/graph/contrib_ops/contrib_defs.cc); ONNX has the first from opset 17 on."""

_APART = "edgeq.unchecked"


def check(model: ir.Model) -> None:
    """Prove that the model is valid ONNX. Costs no copy of its weights.

    Args:
        model: Left as it is.

    Raises:
        ModelError: With the first thing that is wrong: a name that two values or two nodes share,
            a value used before it is computed, or what ``onnx.checker`` finds.
    """
    _check_names(model)
    wrong = disorder(model)
    if wrong is not None:
        reader, value = wrong
        raise ModelError(
            f"Reads {value!r} before anything computes it",
            where=reader,
            remedy="Sort the graph, and make sure that the value has a producer",
        )
    _check_onnx(model)


def disorder(model: ir.Model) -> tuple[str, str] | None:
    """The first use of a value that is not computed yet, or never.

    Returns:
        Who reads (a node or graph) and the value's name; None where all is in order.
    """
    found = _disorder(model.graph, set())
    for function in model.functions.values():
        found = found or _disorder(function.graph, set())
    return found


def _disorder(graph: ir.Graph, outer: set[ir.Value]) -> tuple[str, str] | None:
    known = outer | {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                return node.name or node.op_type, value.name or ""
        for body in _bodies(node):
            found = _disorder(body, known)
            if found:
                return found
        known.update(node.outputs)
    for value in graph.outputs:
        if value not in known:
            return f"outputs of {graph.name or 'the graph'}", value.name or ""
    return None


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _check_names(model: ir.Model) -> None:
    values: set[str] = set()
    nodes: set[str] = set()
    for graph in graphs(model):
        for value in definitions(graph):
            _claim(value.name, values, "value")
        for node in graph:
            _claim(node.name, nodes, "node")


def _claim(name: str | None, taken: set[str], kind: str) -> None:
    if not name:
        raise ModelError(f"A {kind} has no name", remedy="Give it one before saving")
    if name in taken:
        raise ModelError(
            f"Two {kind}s have this name", where=name, remedy="Rename one of them before saving"
        )
    taken.add(name)


def _check_onnx(model: ir.Model) -> None:
    proto = split(model, location="held_out", minimum=_HELD_OUT_BYTES, attributes=True).proto
    for tensor in _external(proto):
        # The checker opens external files and counts bytes, but takes an empty tensor as it is.
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.dims[:] = [0]
    for port in (*proto.graph.input, *proto.graph.output):
        # Runtimes infer types and ranks of outputs; only the checker insists on declared ones.
        if not port.HasField("type"):
            port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if port.type.HasField("tensor_type") and not port.type.tensor_type.HasField("shape"):
            port.type.tensor_type.shape.SetInParent()
    _set_apart(proto)
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The ONNX checker rejects the model: {first}", remedy="Export the model again"
        ) from error


def _external(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from filter(_is_external, proto.graph.initializer)
    for node in _nodes(proto):
        for attribute in node.attribute:
            yield from filter(_is_external, (attribute.t, *attribute.tensors))
            for graph in (attribute.g, *attribute.graphs):
                yield from filter(_is_external, graph.initializer)


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of bodies and functions included."""
    pending = list(proto.graph.node)
    for function in proto.functions:
        pending.extend(function.node)
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)


def _set_apart(proto: onnx.ModelProto) -> None:
    """Move operators that only onnxruntime has in the ONNX domain to where the checker passes."""
    apart = [n for n in _nodes(proto) if not n.domain and n.op_type in _RUNTIMES_OWN]
    if not apart:
        return
    for node in apart:
        node.domain = _APART
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        imports.append(onnx.helper.make_opsetid(_APART, 1))


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL
