"""Models that quantization has to turn down, and what their owners can do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeq.errors import UnsupportedError
from edgeq.graph import constants, macs
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.fitting import DYNAMIC_SHAPES
from edgeq.quantization.plan import INTEGER_FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.quantization.plan import NodeDecision
    from edgeq.targets import TargetProfile

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
            remedy="Leave it float, or take --scheme fp16",
        )
    why = "; ".join(reason for reason, _ in reasons.most_common(2))
    nothing = f"none of its {len(compute)} compute nodes can run in int8 on target {target.name}"
    if DYNAMIC_SHAPES in reasons:
        raise UnsupportedError(
            f"{nothing} ({why})",
            remedy="Fix its sizes first: edgeq optimize MODEL --fix-shape INPUT=1,3,224,224",
        )
    raise UnsupportedError(
        f"{nothing} ({why})",
        remedy="--scheme w8 stores the weights of matrix products in 8 bits",
    )
