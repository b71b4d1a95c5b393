"""Loads models: from a file, bytes, messages and graphs to one checked, well-named graph."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph.check import disorder
from edgeq.graph.external import bind
from edgeq.graph.naming import Tensor, detached, graphs, unique_names
from edgeq.graph.proto import deserialize, merged_opsets, parse
from edgeq.graph.skim import NotSkimmedError, skim
from edgeq.graph.split import map_tensors, split, write_data

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE_KEY: Final = "edgeq.source"
"""Where the main graph's ``meta`` keeps the absolute path that the model was loaded from."""

_BLOCK: Final = 1 << 18
_HELD_OUT_BYTES: Final = 4096
_SKIMMED_FROM: Final = 1 << 26
"""Bytes of a file from which its weights are left in it."""

_OPTIONAL_SINCE: Final = 4
"""The IR version that let initializers be no inputs."""

_HABIT_FROM: Final = 2
"""A single initializer that is an input may well be meant so."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model as it was found.

    Attributes:
        model: The graph, with names unique over the whole model and external data mapped.
        path: The file it came from, absolute; None for a source in memory.
        sha256: Of the file's bytes, then of its external data files sorted by path; for a source
            in memory of the serialized model, then of its large tensors in the model's order.
        size_bytes: Size of what ``sha256`` covers.
        notes: What was changed on loading, sentences without a final period.
    """

    model: ir.Model
    path: Path | None
    sha256: str
    size_bytes: int
    notes: tuple[str, ...]


def load(source: object) -> LoadedModel:
    """Load a model. The source, be it a file or an object, is never modified.

    Args:
        source: A path (str or Path), the bytes of a file, an ``onnx.ModelProto``, an
            ``onnx_ir.Model`` or the ``ONNXProgram`` that ``torch.onnx.export`` returns.

    Raises:
        ModelError: If there is no valid model, or its external data is missing or out of bounds.
        UnsupportedError: If the model uses parts of ONNX that cannot be represented.
    """
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source).expanduser().absolute())
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source))
    if isinstance(source, onnx.ModelProto):
        return _from_bytes(_serialized(source))
    model = source if isinstance(source, ir.Model) else getattr(source, "model", None)
    if isinstance(model, ir.Model):
        return _from_graph(model)
    proto = getattr(source, "model_proto", None)
    if isinstance(proto, onnx.ModelProto):
        return _from_bytes(_serialized(proto))
    raise ModelError(
        f"No model can be read from an object of type {type(source).__name__}",
        remedy="Give a path, bytes, an onnx.ModelProto, an onnx_ir.Model or an ONNXProgram",
    )


def _from_path(path: Path) -> LoadedModel:
    _require_file(path)
    try:
        model, notes = _read(path)
        files = bind(model, path.parent)
        digest = hashlib.sha256()
        files = tuple(file for file in files if file != path)
        size = sum(_digest_file(file, digest) for file in (path, *files))
    except OSError as error:
        raise ModelError(
            f"The model cannot be read: {error.strerror or error}",
            where=str(path),
            remedy="Check that the file and its folder are readable",
        ) from error
    model.graph.meta[SOURCE_KEY] = str(path)
    notes += _normalize(model, str(path))
    return LoadedModel(model, path, digest.hexdigest(), size, notes)


def _from_bytes(data: bytes) -> LoadedModel:
    model, notes = deserialize(parse(data, None), None)
    _refuse_external(model)
    notes += _normalize(model, None)
    return LoadedModel(model, None, hashlib.sha256(data).hexdigest(), len(data), notes)


def _from_graph(source: ir.Model) -> LoadedModel:
    try:
        model = source.clone()
    except Exception as error:
        raise ModelError(
            "The graph cannot be copied: a node reads a value that no earlier node computes",
            remedy="Call model.graph.sort(), and make sure that every value has a producer",
        ) from error
    # Renaming a value renames its tensor: without their own ones, the source would change.
    map_tensors(model, detached)
    for graph in graphs(model):
        _detach_outputs(graph)
    if not model.graph.outputs:
        raise ModelError(
            "The model has no outputs, so there is nothing to compute",
            remedy="Add the values to compute to model.graph.outputs",
        )
    bind(model, None)
    merged, notes = merged_opsets(model.opset_imports.items())
    model.opset_imports.clear()
    model.opset_imports.update(merged)
    digest, size = _digest_graph(model)
    notes += _normalize(model, None)
    return LoadedModel(model, None, digest, size, notes)


def _detach_outputs(graph: ir.Graph) -> None:
    for node in graph:
        for value in node.outputs:
            if value.const_value is not None:
                value.const_value = detached(value.const_value)


def _require_file(path: Path) -> None:
    where = str(path)
    try:
        if path.is_dir():
            inside = sorted(path.glob("*.onnx"))
            remedy = f"Give the file, such as {inside[0].name}" if inside else "Give the .onnx file"
            raise ModelError("The model is a folder", where=where, remedy=remedy)
        if not path.exists():
            raise ModelError("There is no such file", where=where, remedy="Check the path")
        if not path.is_file():
            raise ModelError("Not a regular file", where=where, remedy="Give the .onnx file")
    except (OSError, ValueError) as error:
        raise ModelError(f"The path is unusable: {error}", remedy="Check the path") from error


def _read(path: Path) -> tuple[ir.Model, tuple[str, ...]]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return deserialize(parse(b"", str(path)), str(path))
        # Mapped, the file's bytes need no memory of their own beside the parsed message.
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            proto = parse(_skimmed(view, path), str(path))
    return deserialize(proto, str(path))


def _skimmed(view: memoryview, path: Path) -> bytes | memoryview:
    """The file without the weights that can stay in it, or all of it."""
    status = path.lstat()
    plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    # Data is mapped from ordinary files of ordinary names only (external.py).
    if len(view) < _SKIMMED_FROM or not plain or any(c in path.name for c in ":\\"):
        return view
    try:
        return skim(view, path.name) or view
    except NotSkimmedError:
        return view


def _serialized(proto: onnx.ModelProto) -> bytes:
    try:
        return bytes(proto.SerializeToString(deterministic=True))
    except Exception as error:
        raise ModelError(
            "The ModelProto cannot be serialized, it may be over 2 GB",
            remedy="Save it with external data and give the path",
        ) from error


def _refuse_external(model: ir.Model) -> None:
    def refuse(tensor: Tensor) -> Tensor:
        if isinstance(tensor, ir.ExternalTensor):
            raise ModelError(
                f"The data of {tensor.name!r} is in a file, and a model in memory has no folder",
                remedy="Give the model's path, or an onnx_ir.Model that onnx_ir.load returned",
            )
        return tensor

    map_tensors(model, refuse)


class _Hashing:
    """Takes what a tensor writes to a file, and keeps nothing but the digest."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: bytes, /) -> int:
        view = memoryview(data)
        # torch's tensors hand over a row of bytes per element; a digest takes a single row.
        self._digest.update(view if view.ndim == 1 else view.tobytes())
        return view.nbytes


def _digest_file(path: Path, digest: Any) -> int:
    size = 0
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            size += count
    return size


def _digest_graph(model: ir.Model) -> tuple[str, int]:
    parts = split(model, location="data", minimum=_HELD_OUT_BYTES, attributes=True)
    head = parts.proto.SerializeToString(deterministic=True)
    digest = hashlib.sha256(head)
    size = len(head)
    for extent in parts.extents:
        size += extent.tensor.nbytes
        write_data(extent.tensor, _Hashing(digest))
    return digest.hexdigest(), size


def _normalize(model: ir.Model, name: str | None) -> tuple[str, ...]:
    """Bring a graph into the form that the rest of edgeq relies on. In place.

    Returns:
        What was changed.
    """
    notes = [*_sort(model, name), *_settle_inputs(model)]
    _require_default_opset(model, name)
    replaced = unique_names(model)
    if replaced:
        notes.append(f"{replaced} names were used twice and got a number")
    return tuple(notes)


def _sort(model: ir.Model, name: str | None) -> Iterable[str]:
    notes: tuple[str, ...] = ()
    if disorder(model) is not None:
        try:
            model.graph.sort()
            for function in model.functions.values():
                function.sort()
        except ValueError as error:
            raise ModelError(
                "The graph has a cycle", where=name, remedy="Export the model again"
            ) from error
        notes = ("Nodes were not in the order of execution and were sorted",)
    wrong = disorder(model)
    if wrong is not None:
        reader, value = wrong
        raise ModelError(
            f"Nothing computes {value!r}, which {reader!r} reads",
            where=name,
            remedy="Export the model again; a tool that edited it may have removed too much",
        )
    return notes


def _settle_inputs(model: ir.Model) -> Iterable[str]:
    """Take initializers out of the inputs where listing them was the exporter's habit.

    Before IR version 4 every initializer had to be an input; exporters of those days went on like
    that for years. A choice shows in that some are inputs and others are not.
    """
    both = [value for value in model.graph.inputs if value.is_initializer()]
    if not both:
        # What becomes a constant later must not have to be an input.
        model.ir_version = max(model.ir_version, _OPTIONAL_SINCE)
        return ()
    habit = _HABIT_FROM <= len(both) == len(model.graph.initializers)
    if model.ir_version >= _OPTIONAL_SINCE and not habit:
        return (
            f"{len(both)} initializers are also inputs, such as {both[0].name!r}: callers may "
            "replace them, so they are not treated as constants",
        )
    real = [value for value in model.graph.inputs if not value.is_initializer()]
    model.graph.inputs.clear()
    model.graph.inputs.extend(real)
    model.ir_version = max(model.ir_version, _OPTIONAL_SINCE)
    return (
        f"{len(both)} initializers were listed as inputs, as IR version 3 demands, and are not",
    )


def _require_default_opset(model: ir.Model, name: str | None) -> None:
    if "" in model.opset_imports:
        return
    node = next((n for g in model.graphs() for n in g if n.domain == ""), None)
    if node is not None:
        raise ModelError(
            f"The model uses {node.op_type} but does not say of which opset version",
            where=name,
            remedy="Export the model again, with an opset import for ai.onnx",
        )
