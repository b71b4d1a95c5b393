"""Cross-layer equalization: channels of one value that differ in range are scaled alike.

A value that is quantized per tensor gets steps for its widest channel; the narrow ones drown in
them. Its layer can write each channel divided by a factor, and the layers that read it can multiply
by that factor, without changing what the model computes (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1; Meller et al., "Same, Same
But Different", ICML 2019). Factors go through what is homogeneous, and through a Clip at 0
whose bound nothing comes near: it becomes a Relu. Which factors: :mod:`edgeq.refinement.balance`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.graph.walk import node_name
from edgeq.quantization.plan import NodeForm
from edgeq.refinement.scaling import Terms, rescale

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.rewritten import Rewritten

LEAST_GAIN = 4.0
"""A Mul has to promise a quarter of the noise, 6 dB less: one more pass over the value."""


def equalize(
    prepared: ir.Model,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    *,
    least_gain: float = math.inf,
) -> Rewritten:
    """Scale the channels of what static layers read.

    Args:
        prepared: The float model; not changed.
        annotations: What is quantized.
        channels: What :func:`edgeq.refinement.channels.channel_ranges` found of the values that
            :func:`edgeq.refinement.scaling.channel_axes` lists; what is missing stays as it is.
        least_gain: How many times less noise a Mul has to promise to be put in between float
            operators, where a factor has no place otherwise (:data:`LEAST_GAIN`); inf: none is.
    """

    def is_static(node: ir.Node) -> bool:
        decision = annotations.decisions.get(node_name(node))
        return decision is not None and decision.form is NodeForm.STATIC

    return rescale(prepared, annotations, channels, Terms(is_static, least_gain))
