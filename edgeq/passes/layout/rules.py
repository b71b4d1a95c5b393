"""Operators that work in any order of axes, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph.walk import MICROSOFT, is_op
from edgeq.passes.layout import ports, reshapes, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgeq.passes.layout.permutation import Order
    from edgeq.passes.layout.ports import Ports
    from edgeq.passes.layout.turns import Turn


@dataclass(frozen=True, slots=True)
class Rule:
    """What another order of axes means to an operator.

    Attributes:
        ports: Which inputs and outputs are permuted together.
        turn: Rewrites the node.
        since: The first opset in which this holds.
        along: The axes that it works along, where it is quickest if these are the last ones.
        surcharge: By how many Transposes of its input it is slower along others.
    """

    ports: Callable[[ir.Node, Order], Ports | None]
    turn: Callable[[Turn], None]
    since: int = 1
    along: Callable[[ir.Node], Sequence[int]] | None = None
    surcharge: int = 0


def rule_for(node: ir.Node, version: int) -> Rule | None:
    """The rule of a node's operator in an opset."""
    if node.domain == MICROSOFT:
        return _ELEMENTWISE if node.op_type in _MICROSOFT else None
    rule = RULES.get(node.op_type)
    if rule is None or version < rule.since or not is_op(node, node.op_type):
        return None
    return None if any(a.is_ref() for a in node.attributes.values()) else rule


def is_elementwise(node: ir.Node) -> bool:
    """Whether each element of the output depends on one element of input 0, whatever its place."""
    return rule_for(node, 1) is _ELEMENTWISE and len(node.outputs) == 1


_ELEMENTWISE = Rule(ports.single, turns.nothing)
_BROADCAST = Rule(ports.broadcast, turns.operands)
# The surcharges were measured on onnxruntime 1.31 with 4 to 128 channels of 128 x 128, one thread:
# reductions along channels were slower by 1.5 to 5 Transposes, along height and width of channels
# last by 1 to 6, Softmax by 18 to 30.
_REDUCTION = Rule(ports.reduction, turns.over, along=ports.reduced, surcharge=2)
_PICKING = Rule(ports.picking, turns.along(0), along=ports.axis(0), surcharge=2)
_RESIZING = Rule(ports.resizing, turns.resizing)
_SOFTMAX = Rule(ports.single, turns.along(-1), since=13, along=ports.axis(-1), surcharge=8)
_LAST = Rule(ports.single, turns.along(-1), along=ports.axis(-1), surcharge=4)

_MICROSOFT = ("Gelu", "QuickGelu")

_UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip

_NARY = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, _ELEMENTWISE),
    **dict.fromkeys(_NARY, _BROADCAST),
    **{f"Reduce{kind}": _REDUCTION for kind in _REDUCTIONS},
    "ArgMax": _PICKING,
    "ArgMin": _PICKING,
    "Concat": Rule(ports.operands, turns.operands_along(1)),
    "CumSum": Rule(ports.cumulative, turns.cumulative),
    "DequantizeLinear": Rule(ports.quantizer, turns.quantizer),
    "Dropout": Rule(ports.dropout, turns.nothing),
    "Expand": Rule(ports.expanding, turns.expanding),
    "Flatten": Rule(reshapes.flattening, turns.nothing),
    "Gather": Rule(ports.gather, turns.along(0)),
    "GatherElements": Rule(ports.operands, turns.operands_along(0)),
    "Hardmax": _SOFTMAX,
    "LogSoftmax": _SOFTMAX,
    "LpNormalization": _LAST,
    "Pad": Rule(ports.padding, turns.padding),
    "QuantizeLinear": Rule(ports.quantizer, turns.quantizer),
    "Reshape": Rule(reshapes.reshaping, turns.reshaping),
    "Resize": _RESIZING,
    "Shape": Rule(reshapes.any_reader, turns.shape),
    "Size": Rule(reshapes.any_reader, turns.nothing),
    "Slice": Rule(ports.slicing, turns.slicing),
    "Softmax": _SOFTMAX,
    "Split": Rule(ports.single, turns.along(0)),
    "Squeeze": Rule(reshapes.squeezing, turns.squeezing),
    "Tile": Rule(ports.tiling, turns.tiling),
    "TopK": _LAST,
    "Transpose": Rule(reshapes.transposing, turns.transposing),
    "Unsqueeze": Rule(reshapes.unsqueezing, turns.unsqueezing),
    "Upsample": _RESIZING,
}
"""By operator name, ONNX domain."""
