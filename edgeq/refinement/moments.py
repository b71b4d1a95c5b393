"""Second moments of what a layer reads, in the float model and in the quantized one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Sums over columns x of the float model and y of the quantized one.

    Attributes:
        count: Columns.
        wanted: x, float64 [groups, n].
        found: y, float64 [groups, n].
        square: y y^T, float32 [groups, n, n].
        pull: W (x - y) y^T, float32 [groups, outputs, n].
        floor: (W (x - y))^2, float64 [groups, outputs].
    """

    count: int
    wanted: FloatArray
    found: FloatArray
    square: FloatArray
    pull: FloatArray
    floor: FloatArray

    @classmethod
    def over(
        cls, matrix: FloatArray, columns: Sequence[tuple[FloatArray, FloatArray]]
    ) -> Moments | None:
        """Sum up; None without a column.

        Args:
            matrix: W, float32 [groups, outputs, n].
            columns: Pairs of x and y, each [groups, n, columns].
        """
        if not columns:
            return None
        wanted, found = (np.concatenate(side, axis=-1) for side in zip(*columns, strict=True))
        error, turned = matrix @ (wanted - found), found.transpose(0, 2, 1)
        return cls(
            wanted.shape[-1],
            wanted.sum(-1, dtype=np.float64),
            found.sum(-1, dtype=np.float64),
            found @ turned,
            error @ turned,
            np.square(error).sum(-1, dtype=np.float64),
        )

    def joined(self, other: Moments) -> Moments:
        """The sums over the columns of both."""
        return Moments(
            self.count + other.count,
            self.wanted + other.wanted,
            self.found + other.found,
            self.square + other.square,
            self.pull + other.pull,
            self.floor + other.floor,
        )

    def centred(self, matrix: FloatArray) -> Moments:
        """The same about the means, for a layer whose bias takes up whatever they leave."""
        away = np.einsum("gon,gn->go", matrix, self.wanted - self.found)
        mean = self.found / self.count
        return Moments(
            self.count,
            self.wanted,
            self.found,
            self.square - (self.found[:, :, None] * mean[:, None, :]).astype(np.float32),
            self.pull - (away[:, :, None] * mean[:, None, :]).astype(np.float32),
            self.floor - away**2 / self.count,
        )

    def of_outputs(self, every: int) -> Moments:
        """The same of every so many of the outputs."""
        return replace(self, pull=self.pull[:, ::every], floor=self.floor[:, ::every])

    def shrunk(self, columns_per_input: float) -> FloatArray:
        """The squares with less of what lies off the diagonal, the fewer columns there are.

        What few of them say of how inputs go together is mostly chance. It is believed by half
        where there are ``columns_per_input`` of them (Ledoit and Wolf, 2004, for the idea).
        """
        n = self.square.shape[-1]
        trust = np.float32(self.count / (self.count + columns_per_input * n))
        shrunk: FloatArray = trust * self.square
        diagonal = np.einsum("gnn->gn", shrunk)
        diagonal[...] = np.einsum("gnn->gn", self.square)
        return shrunk

    def errors(self, matrix: FloatArray, made: FloatArray) -> FloatArray:
        """Sum of squared differences of outputs W x and V y, float64 [groups, outputs].

        Args:
            matrix: W, [groups, outputs, n].
            made: V, of the same shape.
        """
        off = np.asarray(matrix - made, np.float32)
        error = np.einsum("gon,gon->go", off @ self.square + 2 * self.pull, off, dtype=np.float64)
        return np.asarray(np.maximum(self.floor + error, 0.0))

    def fitted(self, matrix: FloatArray, ridge: float) -> FloatArray:
        """The weights V that bring V y closest to W x, held to W.

        Args:
            matrix: W, float32 [groups, outputs, n].
            ridge: How much a deviation from W costs, in means of the diagonal.
        """
        n = matrix.shape[2]
        power = np.einsum("gnn->g", self.square) / n
        unit = 1 / np.where(power > 0, power, 1)[:, None, None]
        held = self.square * unit
        np.einsum("gnn->gn", held)[...] += ridge
        moved = np.linalg.solve(held, (self.pull * unit).transpose(0, 2, 1))
        return np.asarray(matrix + moved.transpose(0, 2, 1))
