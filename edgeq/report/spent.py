"""Where the time of a run went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spent:
    """Time of a stage, or of a part of one.

    Attributes:
        name: Of the stage or the part.
        seconds: In all.
        running: Seconds of it in which models ran: passes over samples, and what is timed.
        parts: What it consists of, as far as that was told apart.
    """

    name: str
    seconds: float
    running: float
    parts: tuple[Spent, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "seconds": round(self.seconds, 3),
            "running": round(self.running, 3),
            "parts": [part.to_dict() for part in self.parts],
        }
