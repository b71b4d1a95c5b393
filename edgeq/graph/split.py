"""A model as a protobuf message, large tensors apart: messages cannot pass 2 GB."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph.naming import Tensor, graphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

PROTO_LIMIT: Final = 2**31 - 1
"""Bytes that a protobuf message can have at most."""

NOTHING_HELD_OUT: Final = sys.maxsize
"""The ``minimum`` of :func:`split` that no tensor reaches."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor that was held out belongs in the data file."""

    tensor: Tensor
    offset: int


@dataclass(frozen=True, slots=True)
class Split:
    """A message that refers to tensors by their place in a data file, and those tensors.

    Attributes:
        proto: The message; a tensor that was held out is EXTERNAL in it.
        extents: The tensors held out, each once, by ascending offset.
    """

    proto: onnx.ModelProto
    extents: tuple[Extent, ...]


def split(
    model: ir.Model, *, location: str, minimum: int, attributes: bool = False, name: str = ""
) -> Split:
    """Serialize ``model`` without its tensors of at least ``minimum`` bytes.

    Smaller tensors go into the message, also those mapped from a file.

    Args:
        model: Left as it is; not safe to read from another thread meanwhile.
        location: Name of the data file, relative to the model's folder.
        minimum: Size in bytes from which a tensor is held out.
        attributes: Hold out the tensors of Constant nodes and other attributes too.
        name: The model's name in messages.

    Raises:
        ModelError: If the message would pass 2 GB or cannot be made.
    """
    layout = _Layout(location, minimum)
    inline = sum(tensor.nbytes for tensor in tensors(model) if tensor.nbytes < minimum)
    if not attributes:
        inline += sum(t.nbytes for t in _attribute_tensors(model) if t.nbytes >= minimum)
    require_message_size(inline, name)
    with _replaced(model, layout.place, layout.place if attributes else _inlined):
        try:
            proto = ir.to_proto(model)
        except Exception as error:
            raise ModelError(
                f"The model cannot be serialized: {root_cause(error)}", where=name or None
            ) from error
    return Split(proto, tuple(layout.extents))


def require_message_size(size: int, name: str = "") -> None:
    """Raise unless a message of ``size`` bytes is possible.

    Raises:
        ModelError: Over 2 GB.
    """
    if size > PROTO_LIMIT:
        raise ModelError(
            f"The model has {size / 1e9:.1f} GB, and one protobuf message holds 2 GB at most",
            where=name or None,
            remedy="Keep the weights as initializers and save with external data",
        )


def tensors(model: ir.Model) -> Iterator[Tensor]:
    """All tensors stored in the model: initializers and attributes, subgraphs included."""
    for graph in graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    yield from _attribute_tensors(model)


def map_tensors(model: ir.Model, change: Callable[[Tensor], Tensor]) -> None:
    """Replace every stored tensor by ``change(tensor)``. In place."""
    for value in _initialized(model):
        if value.const_value is not None:
            value.const_value = change(value.const_value)
    for node, key, attribute in _tensor_attributes(model):
        node.attributes[key] = _changed(attribute, change)


def root_cause(error: BaseException) -> str:
    """First line of the innermost exception: onnx-ir wraps each in one per nesting level."""
    # onnx-ir can fail while it words its own error: then the cause is the context.
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Append ``data``."""


def write_data(tensor: Tensor, file: Writable) -> None:
    """Write the tensor's bytes; one that is mapped from a file passes in blocks."""
    if hasattr(tensor, "tofile"):
        tensor.tofile(file)
    else:
        file.write(tensor.tobytes())


class _Layout:
    """Gives tensors their places in the data file; a tensor used twice has one place."""

    def __init__(self, location: str, minimum: int) -> None:
        self.extents: list[Extent] = []
        self._location = location
        self._minimum = minimum
        self._end = 0
        self._offsets: dict[int, int] = {}

    def place(self, tensor: Tensor) -> Tensor:
        if tensor.nbytes < self._minimum or tensor.dtype == ir.DataType.STRING:
            return _inlined(tensor)
        if id(tensor) not in self._offsets:
            # Page alignment lets readers map large tensors; 64 suits every element type.
            alignment = 4096 if tensor.nbytes >= 1 << 20 else 64
            offset = -(-self._end // alignment) * alignment
            self._offsets[id(tensor)] = offset
            self.extents.append(Extent(tensor, offset))
            self._end = offset + tensor.nbytes
        return ir.ExternalTensor(
            self._location,
            self._offsets[id(tensor)],
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or "",
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
        )


def _inlined(tensor: Tensor) -> Tensor:
    """The tensor in a form that serializes its data, not a reference to a file."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    shape = ir.Shape(tensor.shape.numpy())
    if tensor.size == 0:
        # ExternalTensor.tobytes fails for an empty tensor: nothing can be mapped.
        empty = np.empty(shape.numpy(), dtype=tensor.dtype.numpy())
        return ir.Tensor(empty, dtype=tensor.dtype, name=tensor.name)
    return ir.LazyTensor(
        lambda: tensor,
        dtype=tensor.dtype,
        shape=shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


@contextmanager
def _replaced(
    model: ir.Model,
    initializer: Callable[[Tensor], Tensor],
    attribute: Callable[[Tensor], Tensor],
) -> Iterator[None]:
    """Swap the model's tensors for the duration of the block."""
    values = [(value, value.const_value) for value in _initialized(model)]
    kept = list(_tensor_attributes(model))
    try:
        for value, tensor in values:
            if tensor is not None:
                value.const_value = initializer(tensor)
        for node, key, old in kept:
            node.attributes[key] = _changed(old, attribute)
        yield
    finally:
        for value, tensor in values:
            value.const_value = tensor
        for node, key, old in kept:
            node.attributes[key] = old


def _initialized(model: ir.Model) -> list[ir.Value]:
    return [value for graph in graphs(model) for value in graph.initializers.values()]


def _tensor_attributes(model: ir.Model) -> Iterator[tuple[ir.Node, str, ir.Attr]]:
    wanted = (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS)
    for graph in graphs(model):
        for node in graph:
            for key, attribute in tuple(node.attributes.items()):
                if attribute.type in wanted and not attribute.is_ref():
                    yield node, key, attribute


def _attribute_tensors(model: ir.Model) -> Iterator[Tensor]:
    for _, _, attribute in _tensor_attributes(model):
        if attribute.type == ir.AttributeType.TENSOR:
            yield attribute.as_tensor()
        else:
            yield from attribute.as_tensors()


def _changed(attribute: ir.Attr, change: Callable[[Tensor], Tensor]) -> ir.Attr:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = change(attribute.as_tensor())
        return ir.AttrTensor(attribute.name, tensor, doc_string=attribute.doc_string)
    changed = [change(tensor) for tensor in attribute.as_tensors()]
    return ir.AttrTensors(attribute.name, changed, doc_string=attribute.doc_string)
