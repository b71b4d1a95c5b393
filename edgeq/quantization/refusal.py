"""Models that quantization has to turn down, and what their owners can do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import UnsupportedError
from edgeq.graph import constants, macs
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization.fitting import DYNAMIC_SHAPES
from edgeq.quantization.plan import INTEGER_FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.quantization.plan import NodeDecision
    from edgeq.targets import TargetProfile

_HALVES = ("fp16", "bf16")

INTEGER_OPS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QuantizeLinear",
    }
)


def refuse_quantized(model: ir.Model) -> None:
    """Turn down a model that computes in integers already.

    DequantizeLinear on a constant is no such thing: weights stored in integers are read as the
    float numbers they stand for, and quantized anew.

    Raises:
        UnsupportedError: With the operators that show it.
    """
    found = Counter(
        node.op_type
        for node in nodes(model)
        if node.op_type in INTEGER_OPS
        or node.op_type.startswith("QLinear")
        or (node.op_type == "DequantizeLinear" and not constants.is_constant(node.inputs[0]))
    )
    if found:
        what = ", ".join(f"{count} {op}" for op, count in found.most_common(4))
        raise UnsupportedError(
            f"the model is quantized already ({what})",
            remedy="Give the float model that it was made from",
        )


def refuse_unreachable(
    model: ir.Model, decisions: Mapping[str, NodeDecision], target: TargetProfile
) -> None:
    """Turn down a model of which nothing would run in integers.

    Raises:
        UnsupportedError: With the reasons, and another way.
    """
    inside = {d.node for d in decisions.values() if d.form in INTEGER_FORMS}
    compute = [node_name(node) for node in nodes(model) if macs.is_compute(node)]
    if inside.intersection(compute) or (inside and not compute):
        return
    reasons = Counter(decisions[name].reason for name in compute if name in decisions)
    if not compute:
        raise UnsupportedError(
            "the model has no convolution, matrix product or recurrent layer to quantize",
            remedy=other_scheme(model, "int8"),
        )
    why = "; ".join(reason for reason, _ in reasons.most_common(2))
    raise UnsupportedError(
        f"none of its {len(compute)} compute nodes can run in int8 on target {target.name} ({why})",
        remedy=_fixing(model) if DYNAMIC_SHAPES in reasons else other_scheme(model, "int8"),
    )


def _fixing(model: ir.Model) -> str:
    """How the sizes that are open are fixed, for the inputs that have such."""
    open_inputs = [v for v in model.graph.inputs if v.shape is None or not v.shape.is_static()]
    given = " ".join(f"--fix-shape {_sized(value)}" for value in open_inputs)
    return f"Fix its sizes first: edgeq optimize MODEL {given or '--fix-shape INPUT=DIMS'}"


def _sized(value: ir.Value) -> str:
    """An input and its sizes, with words for those that are open."""
    dims = [] if value.shape is None else list(value.shape)
    told = ",".join(str(dim) if isinstance(dim, int) else "N" for dim in dims)
    return f"{name_of(value)}={told or 'DIMS'}"


def other_scheme(model: ir.Model, scheme: str) -> str:
    """What to do with a model that a scheme reaches nothing of.

    Args:
        model: A prepared model.
        scheme: The one that was asked for.
    """
    found = []
    weighted = [n for n in nodes(model) if len(n.inputs) > 1 and constants.is_constant(n.inputs[1])]
    if scheme != "int8" and any(is_op(node, "Conv", "ConvTranspose") for node in weighted):
        found.append("--scheme int8 quantizes convolutions, too")
    if scheme == "int8" and any(is_op(node, "MatMul", "Gemm") for node in weighted):
        found.append("--scheme w8 stores the weights of matrix products in 8 bits")
    elif scheme not in _HALVES and any(_is_plain_float(value) for value in _read(model)):
        found.append("--scheme fp16 halves its size")
    return "; ".join(found) or "Leave it as it is: no scheme makes it smaller"


def _read(model: ir.Model) -> Iterator[ir.Value]:
    """What operators of the ONNX standard read."""
    for node in nodes(model):
        if node.domain == "":
            yield from (value for value in node.inputs if value is not None)


def _is_plain_float(value: ir.Value) -> bool:
    tensor = constants.tensor(value)
    return tensor is not None and tensor.dtype is ir.DataType.FLOAT and tensor.size > 1
