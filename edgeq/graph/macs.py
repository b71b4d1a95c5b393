"""How many multiply-accumulate operations a node costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.graph.walk import MICROSOFT

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    ShapeOf = Callable[[ir.Value], tuple[int, ...] | None]

_DEFAULT = ("", "ai.onnx")
_MICROSOFT = (MICROSOFT,)


@dataclass(frozen=True, slots=True)
class ComputeOp:
    """An operator whose multiply-accumulates are counted: the ones that carry a network's weight.

    Attributes:
        op_type: The operator.
        kind: How it multiplies: ``conv``, ``transposed``, ``product``, ``blocks`` (a product whose
            weight is packed) or ``recurrent``.
        domains: Where it is defined.
        weight: Number of the weight's input; the data is input 0.
    """

    op_type: str
    kind: str
    domains: tuple[str, ...] = _DEFAULT
    weight: int = 1


_OPS: Final = (
    ComputeOp("Conv", "conv"),
    ComputeOp("ConvInteger", "conv"),
    ComputeOp("ConvTranspose", "transposed"),
    ComputeOp("DynamicQuantizeLSTM", "recurrent", _MICROSOFT),
    ComputeOp("DynamicQuantizeMatMul", "product", _MICROSOFT),
    ComputeOp("GRU", "recurrent"),
    ComputeOp("Gemm", "product"),
    ComputeOp("LSTM", "recurrent"),
    ComputeOp("MatMul", "product"),
    ComputeOp("MatMulInteger", "product"),
    ComputeOp("MatMulIntegerToFloat", "product", _MICROSOFT),
    ComputeOp("MatMulNBits", "blocks", _MICROSOFT),
    ComputeOp("QGemm", "product", _MICROSOFT, weight=3),
    ComputeOp("QLinearConv", "conv", weight=3),
    ComputeOp("QLinearMatMul", "product", weight=3),
    ComputeOp("RNN", "recurrent"),
)
_BY_OP: Final = {op.op_type: op for op in _OPS}

COMPUTE_OPS: Final = frozenset(_BY_OP)
"""Names of the operators that are counted."""


def compute_op(node: ir.Node) -> ComputeOp | None:
    """The row of a node's operator; None for one that is not counted."""
    op = _BY_OP.get(node.op_type)
    return op if op is not None and node.domain in op.domains else None


def is_compute(node: ir.Node) -> bool:
    """Whether the node's multiply-accumulates are counted."""
    return compute_op(node) is not None


def count(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """Multiply-accumulates of one run of ``node``.

    Args:
        node: A node for which :func:`is_compute` holds.
        shape_of: The shape of a value in that run; None where unknown.

    Returns:
        The count, 0 for a node that did not run, None where a shape is unknown.

    Raises:
        ValueError: The node is not counted.
    """
    op = compute_op(node)
    if op is None:
        raise ValueError(f"{node.op_type} is not counted")
    if op.kind == "recurrent":
        return _recurrent(node, shape_of)
    if op.kind == "blocks":
        made = shape_of(node.outputs[0])
        return None if made is None else math.prod(made) * node.attributes.get_int("K", 0)
    data, weight, out = (
        None if value is None else shape_of(value)
        for value in (node.inputs[0], node.inputs[op.weight], node.outputs[0])
    )
    if weight is None:
        return None
    if op.kind == "transposed":
        # Each input element meets one kernel: [in, out / group, *kernel].
        return None if data is None else math.prod(data) * math.prod(weight[1:])
    if out is None:
        return None
    if op.kind == "conv":
        return math.prod(out) * math.prod(weight[1:])
    transposed = len(weight) > 1 and node.attributes.get_int("transB", 0) != 0
    inner = weight[1] if transposed else weight[-2] if len(weight) > 1 else weight[0]
    return math.prod(out) * inner


def _recurrent(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """Input and recurrent products of every gate, direction and step (ONNX LSTM, GRU, RNN)."""
    data, weight, recurrent = (None if v is None else shape_of(v) for v in node.inputs[:3])
    if data is None or weight is None or recurrent is None:
        return None
    steps = math.prod(data[:2]) if len(data) == 3 else 0
    return steps * (math.prod(weight) + math.prod(recurrent))
