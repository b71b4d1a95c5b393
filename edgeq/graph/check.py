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
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The ONNX checker rejects the model: {first}", remedy="Export the model again"
        ) from error


def _external(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    nodes = list(proto.graph.node)
    for function in proto.functions:
        nodes.extend(function.node)
    yield from filter(_is_external, proto.graph.initializer)
    while nodes:
        for attribute in nodes.pop().attribute:
            yield from filter(_is_external, (attribute.t, *attribute.tensors))
            for graph in (attribute.g, *attribute.graphs):
                yield from filter(_is_external, graph.initializer)
                nodes.extend(graph.node)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL
