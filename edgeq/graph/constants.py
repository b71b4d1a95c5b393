"""Reading constants: initializers that nobody can override, and Constant nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from edgeq.types import Array


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is the same in every run.

    An initializer that is also a graph input is a default the caller may override: no constant.
    """
    if value is None:
        return False
    if value.is_initializer():
        return not value.is_graph_input()
    node = value.producer()
    return node is not None and node.op_type == "Constant" and node.domain == ""


def tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a constant value, without reading its data; None for anything else."""
    if value is None or not is_constant(value):
        return None
    return ir.convenience.get_const_tensor(value)


def array(value: ir.Value | None) -> Array | None:
    """The data of a constant value; None for anything else."""
    found = tensor(value)
    return None if found is None else found.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The only element of a constant value as a float; None when it is no such thing."""
    found = tensor(value)
    if found is None or found.size != 1:
        return None
    return float(found.numpy().reshape(()))
