"""The ways to find the integers of a matrix: facts, and one function that takes any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.errors import RecipeError, nearest
from edgeq.weight_only.blocks import CHUNK_ELEMENTS, BlockGrid, BlockMatrix, in_blocks, in_chunks
from edgeq.weight_only.compensated import compensated, compensation
from edgeq.weight_only.half_quadratic import half_quadratic_grid
from edgeq.weight_only.least_error import least_error_grid
from edgeq.weight_only.nearest import covering_grid

if TYPE_CHECKING:
    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec
    from edgeq.weight_only.moment import Moment

AUTO: Final = "auto"
"""Every method that the data allows, and for each matrix the one of the least error."""

AWQ: Final = "awq"
"""Not a way to round but to prepare for it: see :mod:`edgeq.weight_only.activation_aware`."""

WITHOUT_DATA: Final = "k-quant"
"""What takes the place of a method that needs data where a layer was never reached."""


_COLUMNWISE: Final = 4 * CHUNK_ELEMENTS
"""Weights that are worked on at a time where columns come one by one: fewer take no less time."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to choose the integers of a matrix.

    Attributes:
        name: As on the command line.
        summary: One sentence.
        needs_data: Whether it looks at what the layer reads.
    """

    name: str
    summary: str
    needs_data: bool = False


METHODS: Final = (
    Method("rtn", "round to nearest: every block covers its least and its greatest weight"),
    Method("hqq", "half-quadratic: many small errors matter more than a few large ones"),
    Method(
        "k-quant",
        "the scale and zero point of the least squared error, weighted by the inputs where there "
        "is data",
    ),
    Method(
        "gptq",
        "each column's rounding error is taken back by the columns behind it",
        needs_data=True,
    ),
    Method(
        AWQ,
        "k-quant behind factors that make weights of large inputs finer, where the model takes "
        "their inverse up",
        needs_data=True,
    ),
)


def method_named(name: str) -> Method:
    """The method called ``name``.

    Raises:
        RecipeError: There is none.
    """
    known = {method.name: method for method in METHODS}
    if name not in known:
        raise RecipeError(
            f"unknown method {name!r}", where="--method", remedy=nearest(name, (AUTO, *known))
        )
    return known[name]


def applicable(name: str, *, has_data: bool) -> tuple[str, ...]:
    """The methods to try: the one that is named, or all that the data allows.

    Raises:
        RecipeError: There is no such method, or it needs data.
    """
    if name == AUTO:
        rounding = (method for method in METHODS if method.name != AWQ)
        return tuple(m.name for m in rounding if has_data or not m.needs_data)
    method = method_named(name)
    if method.needs_data and not has_data:
        raise RecipeError(
            f"{name} looks at what every layer reads",
            where="--method",
            remedy="Give --calib DATA, or take k-quant, which needs none",
        )
    return (name,)


def quantize_rows(
    weights: FloatArray, spec: BlockSpec, method: str, moment: Moment | None = None
) -> BlockMatrix:
    """Store a matrix in blocks.

    Args:
        weights: float32 [rows, columns].
        spec: Bits, block size and symmetry.
        method: Name of the method.
        moment: What the layer reads; None without data.

    Raises:
        RecipeError: The method needs data and there is none.
    """
    applicable(method, has_data=moment is not None)
    rows, columns = weights.shape
    blocks = spec.blocks(columns)
    scale = np.empty((rows, blocks), np.float32)
    zero_point = np.empty((rows, blocks), np.float32)
    codes = np.empty((rows, blocks, spec.size), np.uint8)
    importance = _importance(moment, spec, columns)
    how = compensation(moment, spec.size) if method == "gptq" and moment is not None else None
    for chunk in in_chunks(rows, columns, CHUNK_ELEMENTS if how is None else _COLUMNWISE):
        if how is not None:
            part = compensated(
                np.asarray(weights[chunk], np.float32), how, spec,
                lambda block, matters: least_error_grid(block, spec, matters),
            )  # fmt: skip
            grid, codes[chunk] = part.grid, part.codes
        else:
            block = in_blocks(weights[chunk], spec.size)
            grid = _grid(block, spec, method, importance)
            codes[chunk] = grid.codes(block)
        scale[chunk], zero_point[chunk] = grid.scale, grid.zero_point
    return BlockMatrix(BlockGrid(spec, scale, zero_point), codes, columns)


def _grid(
    block: FloatArray, spec: BlockSpec, method: str, importance: FloatArray | None
) -> BlockGrid:
    if method == "rtn":
        return covering_grid(block, spec)
    if method == "hqq":
        return half_quadratic_grid(block, spec)
    return least_error_grid(block, spec, importance)


def _importance(moment: Moment | None, spec: BlockSpec, columns: int) -> FloatArray | None:
    """Mean square of every input [blocks, size], a hundredth of their mean added; None without."""
    if moment is None:
        return None
    squares = np.diagonal(moment.mean).astype(np.float64)
    mean = float(squares.mean())
    if not np.isfinite(mean) or mean <= 0:
        return None
    found = in_blocks(((squares + 0.01 * mean) / mean)[None].astype(np.float32), spec.size)
    result: FloatArray = found[0]
    return result


def relative_error(weights: FloatArray, stored: BlockMatrix, moment: Moment | None = None) -> float:
    """Energy of the error over that of the signal.

    Args:
        weights: float32 [rows, columns].
        stored: What became of it.
        moment: As for :func:`quantize_rows`; with it the outputs are compared, else the weights.
    """
    wrong = signal = 0.0
    narrow = None if moment is None else moment.mean.astype(np.float32)
    for chunk in in_chunks(*weights.shape):
        part = np.asarray(weights[chunk], np.float32)
        grid = BlockGrid(stored.spec, stored.grid.scale[chunk], stored.grid.zero_point[chunk])
        error = part - BlockMatrix(grid, stored.codes[chunk], stored.columns).real()
        for array, is_error in ((error, True), (part, False)):
            seen = array if narrow is None else array @ narrow
            energy = float(np.vdot(seen, array))
            wrong, signal = (wrong + energy, signal) if is_error else (wrong, signal + energy)
    return max(wrong, 0.0) / signal if signal > 0 else 0.0
