"""From bytes to a graph: recognizes what a file is, and repairs what onnx-ir would drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from edgeq.errors import EdgeqError, ModelError, UnsupportedError
from edgeq.graph.split import PROTO_LIMIT, root_cause, tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeq.graph.naming import Tensor

_SIGNATURES = (
    (4, b"ORTM", "an .ort file of onnxruntime"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model itself (run: git lfs pull)"),
    (0, b"\x80\x02", "a Python pickle, such as a PyTorch checkpoint"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\x80\x05", "a Python pickle"),
)
_DENSE_LIMIT = 1 << 30


def parse(data: bytes | memoryview, name: str | None) -> onnx.ModelProto:
    """The message that ``data`` holds.

    Args:
        data: A serialized ModelProto.
        name: The file's name in messages; None for data in memory.

    Raises:
        ModelError: If the data is empty, damaged, over 2 GB, or something else than ONNX.
    """
    if not data:
        raise ModelError("The model is empty (0 bytes)", where=name, remedy=_AGAIN)
    _refuse_foreign(bytes(data[:4096]), name)
    if len(data) > PROTO_LIMIT:
        raise ModelError(
            "The file is over 2 GB, which no protobuf message can be",
            where=name,
            remedy="Export the model with external data",
        )
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # protobuf's own type has no stubs
        kind = _text_kind(bytes(data[:4096]))
        what = f"Not an ONNX model: it looks like {kind}" if kind else "Not a complete ONNX model"
        raise ModelError(what, where=name, remedy=_AGAIN) from error
    if not proto.HasField("graph"):
        kind = _text_kind(bytes(data[:4096])) or "another kind of file"
        raise ModelError(f"Not an ONNX model: it looks like {kind}", where=name, remedy=_AGAIN)
    return proto


def deserialize(proto: onnx.ModelProto, name: str | None) -> tuple[ir.Model, tuple[str, ...]]:
    """The graph of ``proto``, and what had to be changed on the way.

    Args:
        proto: Changed in place; its tensors become the graph's.
        name: The file's name in messages.

    Raises:
        ModelError: If the graph is invalid.
        UnsupportedError: If it uses parts of ONNX that cannot be represented.
    """
    if not proto.graph.output:
        raise ModelError(
            "The model has no outputs, so there is nothing to compute",
            where=name,
            remedy="Name the outputs when exporting the model",
        )
    try:
        notes = (*_normalize_opsets(proto), *_densify_all(proto, name))
        if proto.training_info:
            notes += ("Training information was dropped",)
        model = ir.from_proto(proto)
        for tensor in tensors(model):
            _require_data(tensor, name)
    except EdgeqError:
        raise
    except Exception as error:
        cause = root_cause(error)
        if "not supported yet" in cause:
            raise UnsupportedError(
                f"The model uses {cause.split('.')[0].removesuffix(' are not supported yet')}, "
                "which edgeq cannot represent",
                where=name,
                remedy="Export the model with tensors only (scikit-learn: options zipmap=False)",
            ) from error
        raise ModelError(f"The graph is invalid: {cause}", where=name, remedy=_AGAIN) from error
    return model, notes


def merged_opsets(imports: Iterable[tuple[str, int]]) -> tuple[dict[str, int], tuple[str, ...]]:
    """One version for each domain, the highest; ``ai.onnx`` is the default domain ``""``.

    Returns:
        Versions by domain, and a note for each domain that was imported more than once.
    """
    merged: dict[str, int] = {}
    repeated: list[str] = []
    for domain, version in imports:
        domain = "" if domain == "ai.onnx" else domain
        if domain in merged:
            repeated.append(domain)
        merged[domain] = max(version, merged.get(domain, version))
    return merged, tuple(
        f"Repeated opset imports of {domain or 'ai.onnx'} were merged to {merged[domain]}"
        for domain in dict.fromkeys(repeated)
    )


_AGAIN = "Download or export the model again"


def _refuse_foreign(head: bytes, name: str | None) -> None:
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            raise ModelError(
                f"Not an ONNX model: it looks like {kind}",
                where=name,
                remedy="Give the .onnx file that it was made from, or export the network to ONNX",
            )


def _require_data(tensor: Tensor, name: str | None) -> None:
    """Refuse a tensor of no type, or whose raw data does not fit its shape."""
    needed = tensor.nbytes
    if isinstance(tensor, ir.serde.TensorProtoTensor) and tensor.raw.HasField("raw_data"):
        stored = len(tensor.raw.raw_data)
        if stored != needed:
            raise ModelError(
                f"The tensor {tensor.name!r} has {stored} bytes of data, "
                f"and its shape needs {needed}",
                where=name,
                remedy=_AGAIN,
            )


def _text_kind(head: bytes) -> str | None:
    """What a text file seems to be; None for binary data."""
    try:
        text = head.decode().lstrip()
    except UnicodeDecodeError:
        return None
    if not all(char.isprintable() or char in "\t\r\n" for char in text):
        return None
    return "a web page" if text[:1] == "<" else "a text file"


def _normalize_opsets(proto: onnx.ModelProto) -> tuple[str, ...]:
    imports = [(entry.domain, entry.version) for entry in proto.opset_import]
    merged, notes = merged_opsets(imports)
    if not imports and proto.ir_version < 3:
        merged = {"": 1}
    for holder, versions in (
        (proto, merged),
        *(
            (f, merged_opsets((e.domain, e.version) for e in f.opset_import)[0])
            for f in proto.functions
        ),
    ):
        del holder.opset_import[:]
        for domain, version in versions.items():
            holder.opset_import.add(domain=domain, version=version)
    return notes


def _densify_all(proto: onnx.ModelProto, name: str | None) -> tuple[str, ...]:
    """Make sparse tensors dense: onnx-ir drops sparse initializers without a word."""
    count = 0
    for graph in _graphs(proto.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, name))
        count += len(graph.sparse_initializer)
        del graph.sparse_initializer[:]
        for node in graph.node:
            for attribute in node.attribute:
                if (
                    attribute.type == onnx.AttributeProto.SPARSE_TENSOR
                    and node.op_type == "Constant"
                ):
                    attribute.t.CopyFrom(_dense(attribute.sparse_tensor, name))
                    attribute.ClearField("sparse_tensor")
                    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
                    count += 1
    return (f"{count} sparse tensors were made dense",) if count else ()


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
            for body in attribute.graphs:
                yield from _graphs(body)


def _dense(sparse: onnx.SparseTensorProto, name: str | None) -> onnx.TensorProto:
    tensor = sparse.values.name
    shape = tuple(sparse.dims)
    try:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        # The sizes come from the file: a few bytes could ask for any amount of memory.
        if (
            min(shape, default=0) < 0
            or np.prod(shape, dtype=float) * values.itemsize > _DENSE_LIMIT
        ):
            raise ModelError(f"The sparse tensor {tensor!r} is too large: {shape}", where=name)
        dense = np.zeros(shape, dtype=values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(
            f"The sparse tensor {tensor!r} is invalid: {error}", where=name, remedy=_AGAIN
        ) from error
    return numpy_helper.from_array(dense, tensor)
