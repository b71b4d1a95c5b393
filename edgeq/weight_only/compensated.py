"""Rounding that makes up for itself: each column's error is taken back by the columns behind it.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(2023). With ``H`` the mean of ``x x'`` over the inputs ``x`` of a layer, the weights ``W`` are
rounded so that the layer's outputs, ``tr((W - Q) H (W - Q)')``, stay close rather than the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from edgeq.weight_only.blocks import BlockGrid, BlockMatrix, in_blocks

if TYPE_CHECKING:
    from edgeq.types import FloatArray, IntArray
    from edgeq.weight_only.blocks import BlockSpec
    from edgeq.weight_only.moment import Moment

_DAMPING: Final = 0.01
"""Part of the mean of ``H``'s diagonal that is added to it at least, as in the paper; raised
tenfold as long as the matrix cannot be factorized."""

_UNCERTAINTY: Final = 0.3
"""What is added for each column that there is for one input: so much of a mean over few inputs is
chance. Four layers of a language model of 135 M weights had the least error on held-out inputs
between 0.2 and 0.6 of columns / inputs, at 768, 1,536 and 3,072 inputs and 576 and 1,536 columns;
0.01 alone left 10 to 30 % more."""

_STRIPE: Final = 64
"""Columns whose errors are spread at once to the columns behind them."""


@dataclass(frozen=True, eq=False, slots=True)
class Compensation:
    """How columns make up for each other.

    Attributes:
        order: Numbers of the columns in the order in which they are rounded, block by block.
        factor: What :func:`inverse_factor` found for the inputs in that order.
    """

    order: IntArray
    factor: FloatArray


class GridChooser(Protocol):
    """Chooses the grid of blocks: (rows [rows, blocks, size], importance [blocks, size])."""

    def __call__(self, rows: FloatArray, importance: FloatArray) -> BlockGrid:
        """The grid of each block."""
        ...


def inverse_factor(second_moment: FloatArray, damping: float = _DAMPING) -> FloatArray:
    """The upper Cholesky factor of the inverse of a damped second moment.

    Args:
        second_moment: float64 [columns, columns], symmetric.
        damping: Part of the mean of its diagonal that is added to it.

    Returns:
        float32 ``U`` with ``U' U`` the inverse; the identity, that is no compensation, for a
        moment of zeros.
    """
    matrix = np.array(second_moment, np.float64)
    diagonal = np.diag_indices_from(matrix)
    silent = matrix[diagonal] <= 0
    mean = float(matrix[diagonal].mean())
    if not np.isfinite(mean) or mean <= 0:
        return np.eye(matrix.shape[0], dtype=np.float32)
    matrix[diagonal] += np.where(silent, mean, 0.0)
    while True:
        damped = matrix.copy()
        damped[diagonal] += damping * mean
        try:
            # Turned about both axes, a lower factor is an upper one: H = R R', so U = inv(R).
            upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
        except np.linalg.LinAlgError:
            damping *= 10.0
            continue
        return _inverse(upper).astype(np.float32)


def _inverse(upper: FloatArray) -> FloatArray:
    """The inverse of an upper triangular matrix, in a third of the time of a general one."""
    if len(upper) <= _STRIPE:
        return np.asarray(np.linalg.inv(upper))
    half = len(upper) // 2
    first, last = _inverse(upper[:half, :half]), _inverse(upper[half:, half:])
    result = np.zeros_like(upper)
    result[:half, :half], result[half:, half:] = first, last
    result[:half, half:] = -first @ (upper[:half, half:] @ last)
    return result


def compensation(moment: Moment, size: int) -> Compensation:
    """The order of columns and the factor for it.

    Args:
        moment: What the layer reads.
        size: Columns of a block.
    """
    order = _order(np.diagonal(moment.mean), size)
    damping = max(_DAMPING, _UNCERTAINTY * len(order) / moment.rows)
    return Compensation(order, inverse_factor(moment.mean[np.ix_(order, order)], damping))


def _order(energy: FloatArray, size: int) -> IntArray:
    """Columns of the greatest energy first, block by block: fewer are left to make up for the last.

    Blocks stay together, so that a grid is still chosen from what the columns before have left.
    """
    starts = sorted(range(0, len(energy), size), key=lambda s: -float(energy[s : s + size].sum()))
    parts = [start + np.argsort(-energy[start : start + size], kind="stable") for start in starts]
    return np.concatenate(parts)


def compensated(
    weights: FloatArray, how: Compensation, spec: BlockSpec, choose: GridChooser
) -> BlockMatrix:
    """Round a matrix column by column.

    Args:
        weights: float32 [rows, columns].
        how: What :func:`compensation` found.
        spec: Bits and size.
        choose: Chooses the grid of a block when its first column is reached, from the weights as
            the columns before have left them.
    """
    rows, columns = weights.shape
    blocks = spec.blocks(columns)
    left = np.ascontiguousarray(weights.T[how.order])
    importance = (1.0 / np.square(np.diagonal(how.factor))).astype(np.float32)
    scale = np.empty((rows, blocks), np.float32)
    zero_point = np.empty((rows, blocks), np.float32)
    codes = np.empty((columns, rows), np.uint8)
    start = 0
    while start < columns:
        block = int(how.order[start]) // spec.size
        end = start + min(spec.size, columns - block * spec.size)
        grid = choose(
            in_blocks(left[start:end].T, spec.size),
            in_blocks(importance[None, start:end], spec.size)[0],
        )
        scale[:, block], zero_point[:, block] = grid.scale[:, 0], grid.zero_point[:, 0]
        for place in range(start, end, _STRIPE):
            _round_stripe(
                left, codes, how.factor, slice(place, min(place + _STRIPE, end)),
                scale[:, block], zero_point[:, block], spec.top,
            )  # fmt: skip
        start = end
    whole = np.repeat(zero_point.astype(np.uint8), spec.size, axis=1)
    whole[:, how.order] = codes.T
    grid = BlockGrid(spec, scale, zero_point)
    return BlockMatrix(grid, whole.reshape(rows, blocks, spec.size), columns)


def _round_stripe(
    left: FloatArray,
    codes: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    factor: FloatArray,
    stripe: slice,
    scale: FloatArray,
    zero_point: FloatArray,
    top: int,
) -> None:
    """Round some columns of one block, and let those behind make up for the errors. In place.

    Args:
        left: Weights still to be rounded, [columns, rows].
        codes: Where the integers go, of the same shape.
        factor: Of the inverse second moment.
        stripe: The columns.
        scale: Of the block, [rows].
        zero_point: Of the block, [rows].
        top: The largest integer.
    """
    here, square = left[stripe], factor[stripe, stripe]
    errors = np.empty_like(here)
    for place in range(here.shape[0]):
        wanted = here[place]
        found = np.clip(np.rint(wanted / scale) + zero_point, 0, top)
        codes[stripe.start + place] = found
        errors[place] = (wanted - (found - zero_point) * scale) / square[place, place]
        behind = square[place, place + 1 :]
        here[place + 1 :] -= behind[:, None] * errors[place]
    left[stripe.stop :] -= factor[stripe, stripe.stop :].T @ errors
