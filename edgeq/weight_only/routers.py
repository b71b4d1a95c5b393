"""The products that choose which experts of a mixture a token goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.graph import constants
from edgeq.graph.walk import is_op, nodes

if TYPE_CHECKING:
    import onnx_ir as ir

REASON: Final = (
    "it chooses which experts its input goes to (TopK): they are others where scores change places"
)

_MOST_EXPERTS: Final = 512
"""Scores above which a choice is one of words or places, and no router."""

_BETWEEN: Final = (
    "Add",
    "Cast",
    "Div",
    "Identity",
    "LogSoftmax",
    "Mul",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Squeeze",
    "Sub",
    "Unsqueeze",
)
"""Operators between the scores of experts and the choice of the best: each goes on from one value,
and what it may read besides is constant."""


def routers(model: ir.Model) -> frozenset[ir.Node]:
    """The products with constant weights of whose few results TopK picks the best.

    Args:
        model: A prepared model; not changed.
    """
    found = (_scored_by(node.inputs[0]) for node in nodes(model) if is_op(node, "TopK"))
    return frozenset(node for node in found if node is not None)


def _scored_by(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    while node is not None and is_op(node, *_BETWEEN):
        computed = [v for v in node.inputs if v is not None and not constants.is_constant(v)]
        node = computed[0].producer() if len(computed) == 1 else None
    if node is None or not is_op(node, "MatMul", "Gemm"):
        return None
    weight = constants.tensor(node.inputs[1])
    if weight is None:
        return None
    turned = is_op(node, "Gemm") and node.attributes.get_int("transB", 0) != 0
    scores = int(weight.shape.numpy()[0 if turned else -1])
    return node if scores <= _MOST_EXPERTS else None
