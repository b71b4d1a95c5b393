"""Learned rounding: weights move to the integers with which their layer errs least on samples.

Closed form, layer by layer, without gradients. The target is what the float layer makes of what
the float model feeds it; the inputs are those that the quantized model feeds it, behind layers that
are done already, so that weights and bias also make up for errors that reach the layer (the aim of
Hubara et al., "Accurate Post Training Quantization With Small Calibration Sets", 2021). The wanted
weights are a least-squares solution, held so close to the given ones as samples ask for that it was
not made from (:mod:`edgeq.refinement.trust`); :mod:`edgeq.refinement.nearest` rounds them (Frantar
et al., "GPTQ", 2022).

Memory: what layers still have to read, of all samples (:mod:`edgeq.calibration.stepwise`), and six
matrices [n, n] of one layer at a time. Time: of each layer one solution and one factor of such a
matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.quantization import affine
from edgeq.refinement.empirical_bias import best_bias
from edgeq.refinement.layers import Walk
from edgeq.refinement.moments import Moments
from edgeq.refinement.nearest import Grid, round_matrix
from edgeq.refinement.trust import Product, trust_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.refinement.layers import Layer
    from edgeq.types import FloatArray, Sample

_COLUMNS_PER_INPUT = 2
_LEAST_COLUMNS, _USUAL_COLUMNS, _MOST_COLUMNS = 1024, 2048, 4096
"""Four times as many bring 0.4 dB on EfficientNet-Lite0, twice as many nothing."""

_MOST_NUMBERS = 2**25
"""In the columns of a layer, unless it takes the least of them already."""


@dataclass(frozen=True, slots=True)
class RoundedLayer:
    """What became of a layer.

    Attributes:
        node: Its name.
        before: Mean squared error of its outputs under plain rounding, on the samples.
        after: The same with learned rounding.
    """

    node: str
    before: float
    after: float

    @property
    def gain_db(self) -> float:
        """How much the error fell, in dB."""
        tiny = float(np.finfo(np.float32).tiny)
        return 10 * math.log10(max(self.before, tiny) / max(self.after, tiny))


@dataclass(frozen=True, eq=False, slots=True)
class Rounded:
    """A model whose weights lie on the grids of a plan.

    Attributes:
        model: A copy of the model that was given. The plan holds for it, too.
        layers: What became of each layer that was looked at.
    """

    model: ir.Model
    layers: tuple[RoundedLayer, ...]


def round_weights(
    base: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    *,
    with_biases: bool = True,
    threads: int = 0,
) -> Rounded:
    """Choose the integers of weights by the outputs of their layers.

    Layers inside of bodies and those that share their weight keep it.

    Args:
        base: The float model that the plan was made for; not changed.
        plan: The numbers; scales stay as they are.
        samples: What to learn from.
        with_biases: Whether biases make up for what weights leave; else they stay.
        threads: Threads of onnxruntime.

    Returns:
        A model whose weights insertion rounds to exactly the chosen integers.
    """
    walk = Walk(base, plan, samples, threads=threads)
    done = []
    for visit in walk.visits():
        layer, columns = visit.layer, visit.columns(_wanted_columns(visit.layer))
        integers, report = _rounded(layer, columns, with_biases=with_biases)
        made = integers * layer.grid_scale()
        walk.put(layer, integers, best_bias(layer, columns, made) if with_biases else None)
        done.append(report)
    return Rounded(walk.model, tuple(done))


def _wanted_columns(layer: Layer) -> int:
    """How many columns to learn from: more of them take longer, and tell nothing new."""
    groups, _, n = layer.matrix.shape
    wanted = min(max(_COLUMNS_PER_INPUT * n, _USUAL_COLUMNS), _MOST_COLUMNS)
    return min(wanted, max(_MOST_NUMBERS // (groups * n), _LEAST_COLUMNS))


def _rounded(
    layer: Layer, columns: Sequence[tuple[FloatArray, FloatArray]], *, with_biases: bool
) -> tuple[FloatArray, RoundedLayer]:
    """The integers of a layer, and what they help."""
    centred = layer.bias is not None and with_biases
    plain = layer.as_matrix(
        affine.quantize(layer.weight, layer.params).astype(np.float32)
        - affine.aligned(layer.params, layer.weight.ndim)[1]
    )
    # Reduced ranges are not exceeded either: no integer is larger than plain rounding's largest.
    grid = Grid(layer.grid_scale(), float(np.abs(plain).max(initial=0.0)))
    product = Product(layer.matrix, grid, plain, math.prod(layer.patches.kernel))
    trust = trust_in(product, columns, centred=centred)
    moments = Moments.over(layer.matrix, columns)
    moments = moments.centred() if centred else moments
    target = layer.matrix if trust.ridge is None else moments.fitted(layer.matrix, trust.ridge)
    integers = round_matrix(target, moments.shrunk(trust.believed), grid, plain)
    before = moments.errors(layer.matrix, plain * grid.scale)
    after = moments.errors(layer.matrix, integers * grid.scale)
    integers = np.where((after < before)[..., None], integers, plain)
    after = np.minimum(after, before)
    report = RoundedLayer(
        layer.name, float(before.mean() / moments.count), float(after.mean() / moments.count)
    )
    return integers, report
