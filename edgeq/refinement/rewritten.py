"""What a recovery step that rewrites the float model hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A float model that computes the same with other numbers inside.

    Attributes:
        model: A copy; names of values and nodes that were there before stay the same.
        changed: Values whose numbers are new, and values that are new: what was observed of them
            no longer holds.
        scaled: How many values carry factors.
        notes: What was done that the user should hear, in sentences.
    """

    model: ir.Model
    changed: frozenset[str]
    scaled: int
    notes: tuple[str, ...] = ()
