"""Questions that passes ask about the graph around a node. Nothing here edits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.walk import is_op

if TYPE_CHECKING:
    from edgeq.types import Array

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})
"""The element types that NumPy computes in and that passes fold."""


@dataclass(frozen=True, slots=True)
class Use:
    """A node that reads a value, and as which of its inputs."""

    node: ir.Node
    index: int


@dataclass(frozen=True, slots=True)
class ConstantOperand:
    """A binary node seen as a function of the input that is not constant.

    Attributes:
        data: The input that varies.
        array: The constant one.
        data_first: Whether ``data`` is input 0.
    """

    data: ir.Value
    array: Array
    data_first: bool


def sole_reader(value: ir.Value) -> Use | None:
    """The only use of a value; None when others read it too, a body or the caller among them."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    use = next(iter(uses))
    producer = value.producer()
    graph = producer.graph if producer is not None else value.graph
    return Use(use.node, use.idx) if use.node.graph is graph else None


def constant_operand(node: ir.Node) -> ConstantOperand | None:
    """The binary node's constant input of a float type, if it has exactly one.

    Opsets below 7 broadcast by attributes; nodes that still carry them are not understood.
    """
    if len(node.inputs) != 2 or "axis" in node.attributes or "broadcast" in node.attributes:
        return None
    left, right = node.inputs
    if left is None or right is None or constants.is_constant(left) == constants.is_constant(right):
        return None
    data, constant = (right, left) if constants.is_constant(left) else (left, right)
    tensor = constants.tensor(constant)
    if tensor is None or tensor.dtype not in FLOATS:
        return None
    return ConstantOperand(data, tensor.numpy(), data is left)


def ints(node: ir.Node, index: int, attribute: str) -> tuple[int, ...] | None:
    """Integers that newer opsets take as input ``index`` and older ones as an attribute.

    Returns:
        The integers; None when they are not given or not constant.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is not None:
        array = constants.array(value)
        return None if array is None else tuple(int(i) for i in np.atleast_1d(array).ravel())
    found = node.attributes.get(attribute)
    if found is None:
        return None
    if found.type == ir.AttributeType.INT:
        return (found.as_int(),)
    return tuple(found.as_ints())


def given(node: ir.Node, index: int) -> bool:
    """Whether the optional input ``index`` is there."""
    return index < len(node.inputs) and node.inputs[index] is not None


def produced_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes ``value``, if it is one of the named ops."""
    node = None if value is None else value.producer()
    return node if node is not None and is_op(node, *op_types) else None


def opset(model: ir.Model) -> int:
    """The version of the default domain that the model imports."""
    imports = model.opset_imports
    return imports.get("", imports.get("ai.onnx", 1))


_NORMALIZING = ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Cast")
_TELLTALE = ("Erf", "Tanh", "ReduceMean")


def spells_fusion(value: ir.Value, depth: int = 6) -> bool:
    """Whether ``value`` ends arithmetic that runtimes fuse: GELU or a layer normalization.

    That is what :mod:`edgeq.passes.recognize_gelu` and :mod:`edgeq.passes.recognize_layer_norm`
    leave as arithmetic, where the opset has no operator for it. The constants behind it are part
    of what the runtime recognises; taking them away would cost more than they do.
    """
    node = value.producer()
    if node is None or depth == 0:
        return False
    if is_op(node, *_TELLTALE):
        return True
    if not is_op(node, *_NORMALIZING):
        return False
    return any(spells_fusion(v, depth - 1) for v in node.inputs if v is not None)


def where(node: ir.Node) -> str:
    """How a reason calls a node."""
    return f"{node.op_type} {node.name or '(unnamed)'}"
