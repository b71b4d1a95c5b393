"""How far to trust what samples say of a layer's inputs, judged by samples not learned from.

Few columns teach what is chance. What half of the samples teach is judged on the other half, and in
small: some of the outputs, and as many of the inputs and of the columns, as what is chance depends
on how many columns there are for each input. That bounds the cost, however wide a layer is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.refinement.moments import Moments
from edgeq.refinement.nearest import Grid, round_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import FloatArray, IntArray

_RIDGES = (0.05, 0.5, 5.0, 50.0)
_BELIEVED_BY_HALF = (1.0, 10.0, 100.0)
"""How few columns per input are believed how little. With the first for all layers, pictures unlike
those learned from come out 3 dB worse on EfficientNet-Lite0."""

_JUDGED_OUTPUTS, _JUDGED_INPUTS = 64, 256
"""What this is judged by, about: outputs of all groups together, and inputs of each."""

_WORTH_FITTING = 0.98
"""Fitted weights have to take so much off the error on other samples, or they are let alone."""


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A product whose weights are to be rounded.

    Attributes:
        matrix: The wanted weights, float32 [groups, outputs, n].
        grid: What they may become.
        plain: Integers of plain rounding.
        patch: Neighbours among the n that are read of one channel.
    """

    matrix: FloatArray
    grid: Grid
    plain: FloatArray
    patch: int = 1


@dataclass(frozen=True, slots=True)
class Trust:
    """What other samples approve of.

    Attributes:
        ridge: What weights are held to the given ones by (:meth:`Moments.fitted`); None where they
            are not to be fitted at all.
        believed: Columns per input of which half is believed (:meth:`Moments.shrunk`).
    """

    ridge: float | None
    believed: float


def trust_in(
    product: Product, columns: Sequence[tuple[FloatArray, FloatArray]], *, centred: bool
) -> Trust:
    """Judge what one half of the samples teaches by the other.

    Args:
        product: The layer.
        columns: Per sample, what it reads in the float model and in the quantized one, float32
            [groups, n, columns].
        centred: Whether a bias takes up whatever the means leave.
    """
    if len(columns) < 2:
        return Trust(None, _BELIEVED_BY_HALF[-1])
    few, inputs = _few(product)
    matrix, thinner = product.matrix[few], round(product.matrix.shape[2] / inputs.size)
    thin = [(x[few[0], :, ::thinner], y[few[0], :, ::thinner]) for x, y in columns]
    halves = [Moments.over(matrix, thin[start::2], inputs) for start in (0, 1)]
    every, learned, judged = (
        each.centred() if centred else each for each in (halves[0].joined(halves[1]), *halves)
    )
    scale, plain = (part[few][..., inputs] for part in (product.grid.scale, product.plain))
    small = Product(matrix[..., inputs], Grid(scale, product.grid.limit), plain)
    ridge = _ridge(small.matrix, learned, judged)
    target = small.matrix if ridge is None else every.fitted(small.matrix, ridge)
    return Trust(ridge, _believed(small, target, learned, judged))


def _few(product: Product) -> tuple[tuple[slice, slice], IntArray]:
    """Groups and outputs to judge by, and inputs: whole patches."""
    groups, outputs, n = product.matrix.shape
    each = min(outputs, _JUDGED_OUTPUTS)
    few = (
        slice(None, None, -(-groups * each // _JUDGED_OUTPUTS)),
        slice(None, None, -(-outputs // each)),
    )
    patches = np.arange(n).reshape(-1, product.patch)
    return few, patches[:: max(round(n / _JUDGED_INPUTS), 1)].ravel()


def _ridge(matrix: FloatArray, learned: Moments, judged: Moments) -> float | None:
    """How close weights have to be held; None where fitting them helps too little."""
    errors = {
        ridge: float(judged.errors(matrix, learned.fitted(matrix, ridge)).sum())
        for ridge in _RIDGES
    }
    best = min(errors, key=errors.__getitem__)
    let_alone = float(judged.errors(matrix, matrix).sum())
    return best if errors[best] < _WORTH_FITTING * let_alone else None


def _believed(product: Product, target: FloatArray, learned: Moments, judged: Moments) -> float:
    """How far to trust what the columns say of how inputs go together."""
    times, scale = len(_BELIEVED_BY_HALF), product.grid.scale
    # Side by side as groups: rounding goes row by row, which takes as long for few of them.
    side_by_side = (times, 1, 1)
    integers = round_matrix(
        np.tile(target, side_by_side),
        np.concatenate([learned.shrunk(each) for each in _BELIEVED_BY_HALF]),
        Grid(np.tile(scale, side_by_side), product.grid.limit),
        np.tile(product.plain, side_by_side),
    )
    errors = [
        float(judged.errors(product.matrix, made * scale).sum())
        for made in np.split(integers, times)
    ]
    return _BELIEVED_BY_HALF[int(np.argmin(errors))]
