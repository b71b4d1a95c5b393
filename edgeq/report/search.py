"""What the search tried, as the report tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.validation.verdict import Score


@dataclass(frozen=True, slots=True)
class StepRow:
    """A recovery step that was tried.

    Attributes:
        name: Of the step.
        kept: Whether it is part of the result.
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
        kept: Whether it is the result.
        seconds: What building and running it took.
    """

    excluded: int
    price: float
    score: Score
    sqnr_db: float
    met: bool
    kept: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class BudgetRows:
    """The search for a budget.

    Attributes:
        max_drop: Allowed loss of the metric.
        relative: Whether that is a fraction of the fp32 score.
        met: Whether the result keeps it.
        reason: What was left float for it, or why it is not kept.
        trials: In order.
    """

    max_drop: float
    relative: bool
    met: bool
    reason: str
    trials: tuple[BudgetTrial, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        first = self.trials[0].score
        allowed = self.max_drop * abs(first.fp32) if self.relative else self.max_drop
        return {
            "metric": first.name,
            "fp32": first.fp32,
            "allowed": allowed,
            "met": self.met,
            "reason": self.reason,
            "trials": [
                {
                    "excluded": trial.excluded,
                    "price": round(trial.price, 4),
                    "metric": trial.score.candidate,
                    "sqnr_db": round(trial.sqnr_db, 2),
                    "met": trial.met,
                    "kept": trial.kept,
                    "seconds": round(trial.seconds, 2),
                }
                for trial in self.trials
            ],
        }
