"""Empirical bias correction: biases take the mean error away that the quantized model shows.

The inputs of a layer in the quantized model are off for many reasons: rounded weights and
activations before it, ranges that cut, a ReLU that turns noise into a mean. Running both models
side by side shows all of it (Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019, appendix D). Layers are corrected one after the other, each behind the
corrected ones, in one pass of both models.

Unlike there, the mean is taken where it matters: of what the readers of the output can tell apart.
Most outputs before a ReLU are cut off, and their errors say nothing about the others. (Measured on
EfficientNet-Lite0: the mean over everything loses 4 dB against that.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.refinement.layers import Walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.refinement.layers import Layer
    from edgeq.types import FloatArray, Sample

_COLUMNS = 2048
_SAMPLES = 16
"""Means need no more: all else that learns takes what it can get."""

_STEPS = 4
_DOUBT = 0.02
"""Of the columns: so many without error are added, for outputs that are cut off nearly always."""


def correct_biases_empirically(
    prepared: ir.Model,
    base: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    *,
    threads: int = 0,
) -> ir.Model:
    """Shift the biases of layers by the errors that the quantized model shows on samples.

    Layers without a bias, inside of bodies or with a weight that others read are left alone.

    Args:
        prepared: The float model; not changed.
        base: The float model whose weights are quantized: ``prepared``, or what other steps made of
            it without changing nodes and names of values.
        plan: The numbers; they stay as they are.
        samples: What both models run on; some of them where there are many.
        threads: Threads of onnxruntime.

    Returns:
        A copy of ``base`` with new biases.
    """
    few = samples[:: -(-len(samples) // _SAMPLES)] if samples else samples
    walk = Walk(base, plan, few, prepared=prepared, threads=threads)
    for visit in walk.visits():
        layer = visit.layer
        if layer.bias is not None:
            walk.put(layer, None, best_bias(layer, visit.columns(_COLUMNS), layer.quantized()))
    return walk.model


def best_bias(
    layer: Layer, columns: Sequence[tuple[FloatArray, FloatArray]], made: FloatArray
) -> FloatArray | None:
    """The bias with which a layer errs least in the squares, behind what cuts its output.

    Args:
        layer: The layer.
        columns: What it reads in the float model and in the quantized one, each float32
            [groups, n, columns].
        made: Its weights in reals, as they will be, float32 [groups, outputs, n].

    Returns:
        float64 [groups x outputs]; None for a layer without a bias.
    """
    if layer.bias is None or layer.wanted_bias is None:
        return None
    low, high = layer.bounds
    made = made.astype(np.float32)
    bias = layer.bias.reshape(len(made), -1, 1).astype(np.float64)
    right = layer.wanted_bias.reshape(bias.shape).astype(np.float32)
    wanted = np.concatenate([layer.wanted @ x for x, _ in columns], axis=-1)
    wanted = np.clip(wanted + right, low, high)
    found = np.concatenate([made @ y for _, y in columns], axis=-1)
    doubt = _DOUBT * found.shape[-1]
    for _ in range(_STEPS):
        now = found + bias.astype(np.float32)
        inside = (now > low) & (now < high)
        error = np.where(inside, wanted - now, 0).sum(-1, keepdims=True, dtype=np.float64)
        seen = np.count_nonzero(inside, axis=-1, keepdims=True)
        bias = bias + error / (seen + doubt)
    return np.asarray(bias.reshape(-1))
