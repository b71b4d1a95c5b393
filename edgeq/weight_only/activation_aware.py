"""Factors for the channels of what products read, so that weights of large inputs round finer.

Lin et al., "AWQ: Activation-aware Weight Quantization" (2024, arXiv:2306.00978), section 3.2: the
columns of a matrix are multiplied by ``s = size ** alpha`` with ``size`` that of their inputs, the
inputs are divided by ``s``, and alpha is searched for on a grid by the error of the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.weight_only.methods import quantize_rows
from edgeq.weight_only.moment import Moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec

_STEPS: Final = 20
"""Steps of alpha from 0 to 1, as in the paper."""

_ROWS: Final = 256
"""Rows of a matrix that are looked at, evenly spread: one number is searched for."""

_SMALLEST: Final = 1e-4
"""Part of the mean size below which an input counts as that: what is silent decides nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class Reader:
    """A matrix that multiplies the value.

    Attributes:
        weights: Some of its rows, float32 [rows, columns].
        spec: How it will be stored.
    """

    weights: FloatArray
    spec: BlockSpec


def some_rows(weights: FloatArray) -> FloatArray:
    """The rows of a matrix [rows, columns] that are looked at: float32."""
    step = -(-weights.shape[0] // _ROWS)
    return np.array(weights[::step], np.float32)


def input_factors(
    readers: Sequence[Reader], moment: Moment, methods: Sequence[str]
) -> FloatArray | None:
    """The factors that leave the least error in the outputs of all readers together.

    Args:
        readers: All matrices that multiply the value.
        moment: What they read: the second moment stands in for the paper's mean size.
        methods: How integers will be found: of the best grid of alpha it is asked whether the best
            of these gains from it, too.

    Returns:
        float64 [columns], above 0; None where none is better than ones.
    """
    size = np.sqrt(np.maximum(np.diagonal(moment.mean), 0.0))
    if not size.any():
        return None
    size = np.maximum(size, _SMALLEST * size.mean())
    ones = np.ones(size.size)
    grid = [ones, *(_centred(size ** (step / _STEPS)) for step in range(1, _STEPS + 1))]
    found = min(grid, key=lambda factors: _error(readers, moment, factors, ("rtn",)))
    if found is ones:
        return None
    scaled, plain = (_error(readers, moment, each, methods) for each in (found, ones))
    return found if scaled < plain else None


def _centred(factors: FloatArray) -> FloatArray:
    centred: FloatArray = factors / np.sqrt(factors.max() * factors.min())
    return centred


def _error(
    readers: Sequence[Reader], moment: Moment, factors: FloatArray, methods: Sequence[str]
) -> float:
    """Energy of the error of the outputs, by the best method for each matrix."""
    seen = Moment(moment.mean / np.outer(factors, factors), moment.rows)
    narrow, wide = seen.mean.astype(np.float32), factors.astype(np.float32)
    total = 0.0
    for reader in readers:
        weights = reader.weights * wide
        wrong = (
            weights - quantize_rows(weights, reader.spec, method, seen).real() for method in methods
        )
        total += min(float(np.vdot(error @ narrow, error)) for error in wrong)
    return total
