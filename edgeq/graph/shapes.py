"""Types and shapes: inference that says when it failed, and ranks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LARGE: Final = 1024
"""Size in bytes from which the content of a constant tells nothing about shapes."""

_VAGUE: Final = frozenset(
    {"", "?", "none", "null", "unk", "unknown", "dynamic", "any", "-1", "dim"}
)
"""Names that exporters give to every size they do not know."""

_IR_VERSION: Final = 4
"""The version from which initializers have types without being inputs."""


def infer(model: ir.Model) -> bool:
    """Fill in types and shapes as far as ONNX can infer them.

    Returns:
        Whether inference ran. When it failed the model is as it was: dtypes and ranks that matter
        then come from what is seen while calibrating.
    """
    return learn(model) is not None


def learn(model: ir.Model) -> int | None:
    """Like :func:`infer`.

    Returns:
        How many inner values something new was told of; None when inference failed.
    """
    with _without_content(model):
        proto = ir.to_proto(model)
    proto.ir_version = max(proto.ir_version, _IR_VERSION)
    for strict in (True, False):
        try:
            inferred = onnx.shape_inference.infer_shapes(
                proto, check_type=strict, strict_mode=strict, data_prop=True
            )
        except Exception:  # noqa: S112 - protobuf's and onnx's errors have no common type
            continue
        return _tell(model.graph, inferred.graph)
    return None


@contextmanager
def _without_content(model: ir.Model) -> Iterator[None]:
    """Let large initializers have a type and a shape only: a copy of them would be slow."""
    kept: dict[ir.Value, ir.TensorProtocol] = {}
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None:
                continue
            if value.shape is None:
                value.shape = ir.Shape(tensor.shape.numpy())
            if tensor.dtype != ir.DataType.STRING and tensor.nbytes > _LARGE:
                kept[value] = tensor
    try:
        for value, tensor in kept.items():
            value.const_value = ir.ExternalTensor(
                "",
                None,
                None,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
            )
        yield
    finally:
        for value, tensor in kept.items():
            value.const_value = tensor


def _tell(graph: ir.Graph, proto: onnx.GraphProto) -> int:
    """Hand what was inferred to the values of a graph and of its bodies."""
    told = {info.name: info.type for info in (*proto.value_info, *proto.output)}
    new = sum(_learned(value, told) for value in graph.inputs)
    for node, found in zip(graph, proto.node, strict=True):
        new += sum(_learned(value, told) for value in node.outputs)
        bodies = {a.name: a.g for a in found.attribute if a.type == onnx.AttributeProto.GRAPH}
        for name, body in bodies.items():
            new += _tell(node.attributes[name].as_graph(), body)
    return new


def _learned(value: ir.Value, told: dict[str, onnx.TypeProto]) -> bool:
    """Whether a tensor's type, rank or one of its sizes was not known before."""
    found = told.get(value.name or "")
    if found is None or not found.HasField("tensor_type"):
        return False
    kind = ir.DataType(found.tensor_type.elem_type)
    news = kind != ir.DataType.UNDEFINED and value.dtype != kind
    if news:
        value.type = ir.TensorType(kind)
    shape = ir.serde.deserialize_type_proto_for_shape(found)
    if shape is None or shape == value.shape:
        return news
    known = None if value.shape is None else _fixed(value.shape)
    news = news or known is None or _fixed(shape) > known
    value.shape = shape
    return news and not value.is_graph_output()


def _fixed(shape: Iterable[object]) -> int:
    return sum(isinstance(size, int) for size in shape)


def static(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape, when every dimension is known."""
    if value is None or value.shape is None:
        return None
    dims = tuple(value.shape)
    # Exporters write -1 for a size that they do not know.
    known = [d for d in dims if isinstance(d, int) and d >= 0]
    return tuple(known) if len(known) == len(dims) else None


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, when known."""
    return None if value is None or value.shape is None else len(value.shape)


def told_sizes(value: ir.Value, *axes: int) -> tuple[str, ...] | None:
    """Sizes of a value as the model calls them: where two tell the same, they are equal.

    Returns:
        None where one of them is not told.
    """
    found = None if value.shape is None else tuple(str(value.shape[axis]) for axis in axes)
    return None if found is None or any(map(is_vague, found)) else found


def is_vague(symbol: str) -> bool:
    """Whether the name of a dimension says nothing: equal ones are not equal sizes."""
    return symbol.strip().lower() in _VAGUE
