"""How many multiply-accumulate operations a node costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.graph.walk import is_op

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    ShapeOf = Callable[[ir.Value], tuple[int, ...] | None]

COMPUTE_OPS = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "ConvInteger",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "LSTM",
        "GRU",
        "RNN",
    }
)
"""The ops whose multiply-accumulates are counted: the ones that carry a network's weight."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def is_compute(node: ir.Node) -> bool:
    """Whether the node's multiply-accumulates are counted."""
    return is_op(node, *COMPUTE_OPS)


def count(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """Multiply-accumulates of one run of ``node``.

    Args:
        node: A node of :data:`COMPUTE_OPS`.
        shape_of: The shape of a value in that run; None where unknown.

    Returns:
        The count, 0 for a node that did not run, None where a shape is unknown.
    """
    if node.op_type in _GATES:
        return _recurrent(node, shape_of)
    shapes = [None if v is None else shape_of(v) for v in node.inputs[:2]]
    out = shape_of(node.outputs[0])
    data, weight = shapes[0], shapes[1]
    if weight is None:
        return None
    if node.op_type == "ConvTranspose":
        # Each input element meets one kernel: [in, out / group, *kernel].
        return None if data is None else math.prod(data) * math.prod(weight[1:])
    if out is None:
        return None
    if node.op_type in ("Conv", "ConvInteger"):
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type == "Gemm":
        transposed = node.attributes.get_int("transB", 0)
        return math.prod(out) * weight[1 if transposed else 0]
    inner = weight[-2] if len(weight) > 1 else weight[0]
    return math.prod(out) * inner


def _recurrent(node: ir.Node, shape_of: ShapeOf) -> int | None:
    """Input and recurrent products of every gate, direction and step (ONNX LSTM, GRU, RNN)."""
    data, weight, recurrent = (None if v is None else shape_of(v) for v in node.inputs[:3])
    if data is None or weight is None or recurrent is None:
        return None
    steps = math.prod(data[:2]) if len(data) == 3 else 0
    return steps * (math.prod(weight) + math.prod(recurrent))
