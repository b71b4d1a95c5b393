"""What a pass hands back, and how it is put together from the answers of single places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import onnx_ir as ir

Answer: TypeAlias = bool | str
"""What a pass did at one place: True, changed; False, nothing to do; text, why it declined."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass did to a model.

    Attributes:
        changes: How many places were changed.
        declined: Why places that look like work were left alone; each sentence names its place.
        notes: What the user should hear about changes that were made.
        learned: Of how many values a pass found out what passes decide by, such as a shape.
    """

    changes: int = 0
    declined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    learned: int = 0

    @classmethod
    def of(cls, answers: Iterable[Answer], notes: Iterable[str] = ()) -> Outcome:
        """Count the answers of all places."""
        found = list(answers)
        declined = dict.fromkeys(answer for answer in found if isinstance(answer, str))
        changes = sum(answer is True for answer in found)
        return cls(changes, tuple(declined), tuple(notes))


if TYPE_CHECKING:
    Pass: TypeAlias = Callable[[ir.Model], Outcome]
