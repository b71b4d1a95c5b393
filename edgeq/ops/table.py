"""The operator rules, one row an operator. Adding an operator is adding a row.

Roles and channel axes follow the operator definitions of the ONNX specification
(onnx/docs/Operators.md); which of them a runtime executes in integers is a matter of ``targets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.ops.rules import Constraint, OpRule, Role

if TYPE_CHECKING:
    import onnx_ir as ir

_A, _W, _B, _S = Role.ACTIVATION, Role.WEIGHT, Role.BIAS, Role.SKIP
_SAME, _FIXED = Constraint.SAME_AS_INPUT, Constraint.FIXED


def _first(_node: ir.Node, _rank: int) -> int:
    """Conv keeps its output channels first: [out, in / group, *kernel]."""
    return 0


def _second(_node: ir.Node, _rank: int) -> int:
    """ConvTranspose keeps them second, per group: [in, out / group, *kernel]."""
    return 1


def _gemm(node: ir.Node, _rank: int) -> int:
    """Gemm's B is [in, out], or [out, in] under transB."""
    return 0 if node.attributes.get_int("transB", 0) else 1


def _matmul(_node: ir.Node, rank: int) -> int | None:
    """MatMul's B is [in, out]; a stack of matrices gets one scale: kernels take no more."""
    return 1 if rank == 2 else None


def _gates(_node: ir.Node, _rank: int) -> int:
    """LSTM's W and R are [directions, 4 hidden, in]: a scale per gate row, for all directions."""
    return 1


def _channels_last(_node: ir.Node, rank: int) -> tuple[int, ...]:
    """Kernels of Conv walk the window, and in each place of it the input channels."""
    return (*range(2, rank), 1)


def _gemm_inner(node: ir.Node, _rank: int) -> tuple[int, ...]:
    return (1,) if node.attributes.get_int("transB", 0) else (0,)


def _matmul_inner(_node: ir.Node, rank: int) -> tuple[int, ...]:
    return (max(rank - 2, 0),)


def _gate_inner(_node: ir.Node, _rank: int) -> tuple[int, ...]:
    return (2,)


RULES: tuple[OpRule, ...] = (
    OpRule("Conv", (_A, _W, _B), weight_axis=_first, reduction=_channels_last),
    OpRule("ConvTranspose", (_A, _W, _B), weight_axis=_second),
    OpRule("Gemm", (_A, _W, _B), weight_axis=_gemm, reduction=_gemm_inner),
    OpRule("MatMul", (_A, _W), weight_axis=_matmul, reduction=_matmul_inner),
    OpRule("Add", (_A, _A), since=7),
    OpRule("Mul", (_A, _A), since=7),
    OpRule("Concat", (_A,), variadic=True, since=4),
    OpRule("MaxPool", (_A,), since=12, output=_SAME),
    OpRule("AveragePool", (_A,)),
    OpRule("GlobalAveragePool", (_A,)),
    OpRule("Relu", (_A,)),
    OpRule("Clip", (_A, _S, _S), since=11),
    OpRule("LeakyRelu", (_A,)),
    OpRule("Sigmoid", (_A,), output=_FIXED, fixed_range=(0.0, 1.0)),
    OpRule("Softmax", (_A,), output=_FIXED, fixed_range=(0.0, 1.0)),
    OpRule("Abs", (_A,)),
    OpRule("Div", (_A, _A), since=7),
    OpRule("Elu", (_A,)),
    OpRule("Exp", (_A,)),
    OpRule("Gelu", (_A,), since=20),
    OpRule("GlobalMaxPool", (_A,), output=_SAME),
    OpRule("HardSigmoid", (_A,), output=_FIXED, fixed_range=(0.0, 1.0)),
    OpRule("HardSwish", (_A,), since=14),
    OpRule("Max", (_A,), variadic=True, since=8),
    OpRule("Min", (_A,), variadic=True, since=8),
    OpRule("Neg", (_A,)),
    OpRule("PRelu", (_A, _A), since=7),
    OpRule("Pad", (_A, _S, _S, _S), since=11),
    OpRule("ReduceMax", (_A, _S), output=_SAME),
    OpRule("ReduceMean", (_A, _S)),
    OpRule("ReduceMin", (_A, _S), output=_SAME),
    OpRule("Sqrt", (_A,)),
    OpRule("Sub", (_A, _A), since=7),
    OpRule("Tanh", (_A,), output=_FIXED, fixed_range=(-1.0, 1.0)),
    OpRule("Resize", (_A, _S, _S, _S), since=11, output=_SAME),
    OpRule("Where", (_S, _A, _A), since=9),
    OpRule("ArgMax", (_A,), outputs=0),
    OpRule("DepthToSpace", (_A,), output=_SAME),
    OpRule("Expand", (_A, _S), output=_SAME),
    OpRule("Flatten", (_A,), output=_SAME),
    OpRule("Gather", (_A, _S), output=_SAME),
    OpRule("GatherElements", (_A, _S), output=_SAME),
    OpRule("Reshape", (_A, _S), output=_SAME),
    OpRule("Slice", (_A, _S, _S, _S, _S), output=_SAME),
    OpRule("SpaceToDepth", (_A,), output=_SAME),
    OpRule("Split", (_A, _S), output=_SAME, outputs=-1),
    OpRule("Squeeze", (_A, _S), output=_SAME),
    OpRule("Tile", (_A, _S), output=_SAME),
    OpRule("Transpose", (_A,), output=_SAME),
    OpRule("Unsqueeze", (_A, _S), output=_SAME),
    OpRule(
        "LSTM",
        (_A, _W, _W, _B, _S, _S, _S, _S),
        outputs=0,
        weight_axis=_gates,
        reduction=_gate_inner,
    ),
)

_BY_OP = {rule.op_type: rule for rule in RULES}


def rule_for(node: ir.Node) -> OpRule | None:
    """The rule of a node's operator, or None where edgeq has none."""
    return _BY_OP.get(node.op_type) if node.domain in ("", "ai.onnx") else None
