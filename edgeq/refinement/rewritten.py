"""What a recovery step that rewrites the float model hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.types import FloatArray


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A float model that computes the same with other numbers inside.

    Attributes:
        model: A copy; names of values and nodes that were there before stay the same.
        changed: Values whose numbers are new, and values that are new: what was observed of them
            no longer holds.
        factors: By value that was there before and carries factors along one axis: how many times
            what it was each channel is now, float64 [channels].
        scaled: How many values carry factors.
        notes: What was done that the user should hear, in sentences.
    """

    model: ir.Model
    changed: frozenset[str]
    scaled: int
    notes: tuple[str, ...] = ()
    factors: Mapping[str, FloatArray] = field(default_factory=dict)
