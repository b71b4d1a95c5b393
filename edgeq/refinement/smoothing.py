"""Scale migration: outliers in channels of what a MatMul reads move into its weight.

Channels of the inputs of a transformer's products differ by factors of 100, and the same channels
always; its weights hardly differ. Part of the factor is moved into the weight, which has a scale
per output channel (Xiao et al., "SmoothQuant", ICML 2023). Whatever makes the value takes the
inverse up: a normalization, a constant, another product; where that has no place, one Mul in front
of all products that read the same value does. It helps products that quantize their input while
running as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph.walk import is_op, node_name
from edgeq.quantization.plan import NodeForm
from edgeq.refinement.scaling import Terms, rescale

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.rewritten import Rewritten

LEAST_GAIN = 1.5
"""A Mul costs little beside the products behind it: it has to promise a third less noise."""


def migrate_scales(
    prepared: ir.Model,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    *,
    least_gain: float = LEAST_GAIN,
) -> Rewritten:
    """Scale the channels of what quantized MatMul and Gemm read, static or dynamic.

    Args:
        prepared: The float model; not changed.
        annotations: What is quantized.
        channels: As for :func:`edgeq.refinement.equalization.equalize`.
        least_gain: How many times less noise a Mul has to promise to be put in; inf: none is.
    """

    def is_product(node: ir.Node) -> bool:
        decision = annotations.decisions.get(node_name(node))
        quantized = decision is not None and decision.form in (NodeForm.STATIC, NodeForm.DYNAMIC)
        return quantized and is_op(node, "MatMul", "Gemm")

    return rescale(prepared, annotations, channels, Terms(is_product, least_gain))
