"""What was tried in search of a better candidate, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.validation.verdict import Score


@dataclass(frozen=True, slots=True)
class StepTrial:
    """A recovery step that was tried.

    Attributes:
        name: Of the step.
        kept: Whether it helped and was kept. It is part of the result unless a later step that was
            kept, too, took its place.
        before_db: Closeness without it, in dB, on samples it has not learned from.
        after_db: Closeness with it.
        seconds: What trying it took.
    """

    name: str
    kept: bool
    before_db: float
    after_db: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "kept": self.kept,
            "before_db": round(self.before_db, 2),
            "after_db": round(self.after_db, 2),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, slots=True)
class BudgetTrial:
    """One candidate on the evaluation data.

    Attributes:
        excluded: Nodes left float for the budget.
        price: Share of the running time that they hold in fp32, 0 to 1.
        score: The metric.
        sqnr_db: SQNR of the worst output on calibration samples, in dB.
        met: Whether the budget held.
        seconds: What building and running it took.
        kept: Whether it is the result.
    """

    excluded: int
    price: float
    score: Score
    sqnr_db: float
    met: bool
    seconds: float
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "excluded": self.excluded,
            "price": round(self.price, 4),
            "metric": self.score.candidate,
            "sqnr_db": round(self.sqnr_db, 2),
            "met": self.met,
            "kept": self.kept,
            "seconds": round(self.seconds, 2),
        }
