"""The search for a budget, as the report tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.validation.trials import BudgetTrial


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
            "trials": [trial.to_dict() for trial in self.trials],
        }
