"""Half precision: weights and arithmetic in float16, inputs and outputs of the model in float32.

A node computes in float16 where its operator's definition allows that, its numbers fit, and it is
none of those that add up or multiply what float16 cannot hold. Casts stand between the two kinds,
one for each value. Whoever has no float16 kernel computes as before: onnxruntime's CPU provider on
x86 puts Casts around most nodes, and gains size only; GPUs and NPUs gain time as well.

In a model with Q/DQ pairs what layers read as float16 comes from DequantizeLinear with scales of
float16, so that no Cast parts a layer from its pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.opset import default_opset
from edgeq.graph.walk import is_op, name_of, node_name, nodes, subgraphs
from edgeq.quantization.half_range import beyond_half
from edgeq.quantization.half_rewrite import compute_in_half, float_scale
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.runtime.crashing import is_multiplied_across

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class _Blocked:
    """Operators that stay in float32, and why."""

    operators: frozenset[str]
    reason: str


_BLOCKED: Final = (
    _Blocked(
        frozenset({"Pow", "Exp", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd"}),
        "its results soon pass 65504, the largest number of float16",
    ),
    _Blocked(
        frozenset(
            {
                "ReduceMean",
                "ReduceSum",
                "ReduceL1",
                "CumSum",
                "GlobalAveragePool",
                "LayerNormalization",
                "InstanceNormalization",
                "MeanVarianceNormalization",
                "BatchNormalization",
                "GroupNormalization",
                "RMSNormalization",
                "LpNormalization",
            }
        ),
        "it adds up many numbers, and float16 has 11 bits to do so",
    ),
    _Blocked(
        frozenset({"Range", "NonMaxSuppression", "RoiAlign", "Resize", "Upsample", "GridSample"}),
        "it computes places, which float16 rounds to whole numbers from 2048 on",
    ),
    _Blocked(
        frozenset(
            {
                "Constant",
                "ConstantOfShape",
                "EyeLike",
                "RandomNormal",
                "RandomUniform",
                "RandomNormalLike",
                "RandomUniformLike",
                "Multinomial",
                "Bernoulli",
            }
        ),
        "it makes numbers and computes none",
    ),
    _Blocked(frozenset({"DynamicQuantizeLinear"}), "its scale is float32"),
    _Blocked(frozenset({"BitCast"}), "it tells what the bits of float32 mean"),
)
"""Sources: the ranges of IEEE 754 binary16; onnxruntime's converter leaves a like list alone
(onnxruntime/python/tools/transformers/float16.py, DEFAULT_OP_BLOCK_LIST)."""


def convert_to_half(
    model: ir.Model, objection: Callable[[ir.Node], str]
) -> tuple[NodeDecision, ...]:
    """Let a model compute in float16 wherever it can.

    Args:
        model: A model of known types; changed in place. Its interface stays.
        objection: Why a node shall stay float32; empty where it need not.

    Returns:
        What became of every node that computes on float32.
    """
    decisions = []
    chosen: list[ir.Node] = []
    for node in nodes(model):
        if not _computes_floats(node):
            continue
        why = objection(node) or _obstacle(node, model)
        decisions.append(
            NodeDecision(
                node_name(node), node.op_type, NodeForm.FLOAT if why else NodeForm.HALF, why
            )
        )
        if not why:
            chosen.append(node)
    compute_in_half(model, chosen)
    return tuple(decisions)


def _computes_floats(node: ir.Node) -> bool:
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return False
    return any(
        value is not None and value.dtype is ir.DataType.FLOAT
        for value in (*node.inputs, *node.outputs)
    )


def _obstacle(node: ir.Node, model: ir.Model) -> str:
    """Why a node stays float32; empty where it need not."""
    for row in _BLOCKED:
        if node.op_type in row.operators:
            return row.reason
    if node.domain == "ai.onnx.ml":
        return "it compares numbers with what it has learned, and rounded they fall elsewhere"
    if next(subgraphs(node), None) is not None:
        return "its bodies hand over float32; the nodes in them are decided one by one"
    if is_multiplied_across(node):
        return "onnxruntime (1.31) crashes on it in float16 in front of a product"
    if is_op(node, "ScatterElements", "ScatterND") and _reduces(node):
        return "onnxruntime's CPU provider (1.31) adds up what meets in one place in float32 only"
    around = [v for v in (*node.inputs, *node.outputs) if v is not None and v.name]
    if any(value.dtype is None for value in around):
        return "the type of something that it reads or makes is not known"
    if not _defined_for_half(node, model):
        return f"{node.op_type} is not defined for float16"
    opset = default_opset(model)
    return next(filter(None, (_unfit(value, opset) for value in node.inputs)), "")


def _reduces(node: ir.Node) -> bool:
    """Whether what a node writes to one place is added up or compared."""
    return node.attributes.get_string("reduction", "none") != "none"


def _defined_for_half(node: ir.Node, model: ir.Model) -> bool:
    """Whether the operator takes and makes float16 wherever the node has float32."""
    version = model.opset_imports.get(node.domain, 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return False
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    pairs = [*_formal(node.inputs, schema.inputs), *_formal(node.outputs, schema.outputs)]
    return all(
        "tensor(float16)" in allowed.get(kind, {kind})
        for value, kind in pairs
        if value.dtype is ir.DataType.FLOAT
    )


def _formal(
    values: Iterable[ir.Value | None], parameters: Sequence[onnx.defs.OpSchema.FormalParameter]
) -> list[tuple[ir.Value, str]]:
    """Every value with the type parameter that it is declared by; the last one may repeat."""
    return [
        (value, str(parameters[min(place, len(parameters) - 1)].type_str))
        for place, value in enumerate(values)
        if value is not None and parameters
    ]


def _unfit(value: ir.Value | None, opset: int) -> str:
    """What about a value that a node reads cannot be in float16; empty where it can."""
    if value is None or value.dtype is not ir.DataType.FLOAT:
        return ""
    maker = value.producer()
    if maker is not None and is_op(maker, "DequantizeLinear"):
        return float_scale(maker, opset)
    data = constants.array(value)
    return "" if data is None else beyond_half(name_of(value), data)
