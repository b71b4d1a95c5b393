"""What a layer reads, as far as rounding its weights needs to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.types import FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """The second moment of a layer's inputs.

    Attributes:
        mean: Mean of ``x x'`` over inputs ``x``: float64 [columns, columns], symmetric.
        rows: How many inputs it is the mean of.
    """

    mean: FloatArray
    rows: int
