"""Second moments of what a layer reads, in the float model and in the quantized one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import FloatArray, IntArray


_LOST = np.float32(1e-5)
"""Of a sum of squares in float32: what rounding may have done to it."""


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Sums over columns x of the float model and y of the quantized one.

    Attributes:
        count: Columns.
        found: y, float64 [groups, n].
        away: W (x - y), float64 [groups, outputs].
        square: y y^T, float32 [groups, n, n].
        pull: W (x - y) y^T, float32 [groups, outputs, n].
        floor: (W (x - y))^2, float64 [groups, outputs].
    """

    count: int
    found: FloatArray
    away: FloatArray
    square: FloatArray
    pull: FloatArray
    floor: FloatArray

    @classmethod
    def over(
        cls,
        matrix: FloatArray,
        columns: Sequence[tuple[FloatArray, FloatArray]],
        inputs: slice | IntArray = slice(None),
    ) -> Moments:
        """Sum up.

        Args:
            matrix: W, float32 [groups, outputs, n].
            columns: Pairs of x and y, each [groups, n, columns]; at least one.
            inputs: Those of the n whose weights may change.
        """
        error = np.concatenate([matrix @ (wanted - found) for wanted, found in columns], axis=-1)
        found = np.concatenate([found[:, inputs] for _, found in columns], axis=-1)
        turned = found.transpose(0, 2, 1)
        return cls(
            found.shape[-1],
            found.sum(-1, dtype=np.float64),
            error.sum(-1, dtype=np.float64),
            found @ turned,
            error @ turned,
            np.square(error).sum(-1, dtype=np.float64),
        )

    def joined(self, other: Moments) -> Moments:
        """The sums over the columns of both."""
        return Moments(
            self.count + other.count,
            self.found + other.found,
            self.away + other.away,
            self.square + other.square,
            self.pull + other.pull,
            self.floor + other.floor,
        )

    def centred(self) -> Moments:
        """The same about the means, for a layer whose bias takes up whatever they leave."""
        mean = self.found / self.count
        square = self.square - (self.found[:, :, None] * mean[:, None, :]).astype(np.float32)
        # What little varies about a large mean is lost in the sum, and may come out negative.
        diagonal = np.einsum("gnn->gn", square)
        diagonal += _LOST * np.einsum("gnn->gn", self.square)
        return replace(
            self,
            square=square,
            pull=self.pull - (self.away[:, :, None] * mean[:, None, :]).astype(np.float32),
            floor=self.floor - self.away**2 / self.count,
        )

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
