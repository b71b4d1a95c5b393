"""Matrices that are stored in blocks, as the report tells them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_PERFECT_DB = 200.0


@dataclass(frozen=True, slots=True)
class BlockRow:
    """What became of a matrix.

    Attributes:
        name: Of its constant.
        nodes: That read it.
        op_types: Their operators.
        weights: How many there are.
        bits: Bits of an integer.
        block_size: Weights in a block.
        symmetric: Whether zero points are left out.
        method: How its integers were found.
        error: Energy of the error over that of the signal: of the layer's outputs where there
            were samples, else of the weights.
        bytes: Of integers, scales and zero points.
    """

    name: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    weights: int
    bits: int
    block_size: int
    symmetric: bool
    method: str
    error: float
    bytes: int

    @property
    def sqnr_db(self) -> float:
        """The error as a ratio in dB; 200 where there is none."""
        return min(-10.0 * math.log10(self.error), _PERFECT_DB) if self.error > 0 else _PERFECT_DB

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "nodes": list(self.nodes),
            "op_types": list(self.op_types),
            "weights": self.weights,
            "bits": self.bits,
            "block_size": self.block_size,
            "symmetric": self.symmetric,
            "method": self.method,
            "sqnr_db": round(self.sqnr_db, 2),
            "bits_per_weight": round(8.0 * self.bytes / max(self.weights, 1), 3),
        }
