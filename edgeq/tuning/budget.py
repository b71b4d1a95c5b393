"""Keeping a budget: the smallest set of layers left float with which the metric holds.

Trials are full runs over evaluation data, so they are few: on the ladder of best bargains (see
:mod:`edgeq.tuning.moves`) each one tells where to look next, as a score falls by about what the
amplitude of the noise is; then what is left of the ladder is halved. In the end the dearest layers
are put back where the budget holds without them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.tuning.fallback import moves_of, rungs_of, uncoupled
from edgeq.tuning.moves import Standing
from edgeq.validation.trials import BudgetTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.workshop import Workshop
    from edgeq.validation.verdict import Score

_REASON = "int8 costs accuracy here: the budget does not hold with it"
_DEAREST = 3
"""Layers that are tried back in integers at the end."""

_GUESSES = 3
"""Trials that are placed by what the last one lost; after that the ladder is halved."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to search.

    Attributes:
        trials: Runs over the evaluation data at most, the first one counted.
        seconds: No trial begins later than this after the first; None for no limit.
    """

    trials: int = 16
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetSearch:
    """What the search for a budget found.

    Attributes:
        best: The cheapest candidate that holds it, or else the one with the best score.
        trials: All that was tried, in order; that of ``best`` is kept.
        reason: Why it was not met, or what was left float for it, in a sentence.
    """

    best: Candidate
    trials: tuple[BudgetTrial, ...]
    reason: str

    @property
    def chosen(self) -> BudgetTrial:
        """The trial of the best."""
        return next(trial for trial in self.trials if trial.kept)


def keep_budget(
    workshop: Workshop,
    start: Candidate,
    prices: Callable[[], Mapping[str, float]],
    evaluate: Callable[[Candidate], Score],
    holds: Callable[[Candidate, Score], bool],
    limits: Limits,
    allowed: Callable[[float], float],
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> BudgetSearch:
    """Find the candidate that gives up least and keeps the budget.

    Args:
        workshop: Builds candidates.
        start: All in integers, with the steps that help.
        prices: What leaving each node float costs, as a share of the whole; asked for once there
            is a need to.
        evaluate: Runs a candidate over the evaluation data.
        holds: Whether a candidate with such a score is within the budget.
        limits: How long to search.
        allowed: The largest loss for a score of the original.
        progress: Told the trials done and the most there can be.
    """
    search = _Search(workshop, start, evaluate, holds, limits, allowed, progress)
    if not search.tries(Standing()) and search.may_go_on():
        plain = search.plain = uncoupled(workshop, start)
        known = prices()
        moves = moves_of(workshop, plain, known)
        holding = search.climb(rungs_of(workshop, plain, moves))
        if holding is not None:
            search.put_back(holding, moves.standing, known)
    return search.result()


@dataclass(slots=True)
class _Search:
    """Tries sets of layers and remembers what came of it."""

    workshop: Workshop
    start: Candidate
    evaluate: Callable[[Candidate], Score]
    holds: Callable[[Candidate, Score], bool]
    limits: Limits
    allowed: Callable[[float], float]
    progress: Callable[[int, int | None], None]
    trials: list[BudgetTrial] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    plain: Candidate | None = None
    best: Candidate | None = None
    best_trial: BudgetTrial | None = None

    def may_go_on(self) -> bool:
        """Whether another trial is allowed."""
        late = self.limits.seconds is not None and self.seconds() >= self.limits.seconds
        return not self.trials or (len(self.trials) < self.limits.trials and not late)

    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self.began

    def tries(self, standing: Standing) -> bool:
        """Whether the budget holds with these nodes left float."""
        begun = self.seconds()
        candidate = self.start
        if standing.excluded:
            plain = self.plain or self.start
            choice = plain.choice.with_excluded(standing.excluded, _REASON)
            candidate = self.workshop.build(choice, like=plain)
        score = self.evaluate(candidate)
        met = self.holds(candidate, score)
        took = self.seconds() - begun
        trial = BudgetTrial(
            len(standing.excluded), standing.price, score, candidate.sqnr_db, met, took
        )
        self.trials.append(trial)
        if self.best_trial is None or _is_better(trial, self.best_trial):
            self.best, self.best_trial = candidate, trial
        self.progress(len(self.trials), self.limits.trials)
        return met

    def climb(self, rungs: Sequence[Standing]) -> Standing | None:
        """The lowest rung that holds, as far as trials allow; None if none was found."""
        below, above, last = -1, len(rungs), Standing()
        guesses = 0
        while above - below > 1 and self.may_go_on():
            place = (below + above) // 2
            if guesses < _GUESSES:
                place = self._promising(rungs, last, below, above)
                guesses += 1
            last = rungs[place]
            if self.tries(last):
                above = place
            else:
                below = place
        return rungs[above] if above < len(rungs) else None

    def _promising(self, rungs: Sequence[Standing], last: Standing, below: int, above: int) -> int:
        """The lowest rung between two that should hold by what was lost with ``last``."""
        score = self.trials[-1].score
        allowed = self.allowed(score.fp32)

        def amplitude(rung: Standing) -> float:
            return math.sqrt(max(1.0 - rung.freed, 0.0))

        places = range(below + 1, above)
        holding = (
            place
            for place in places
            if score.drop * amplitude(rungs[place]) <= allowed * amplitude(last)
        )
        return next(holding, places[-1])

    def put_back(
        self,
        holding: Standing,
        standing_of: Callable[[Sequence[str]], Standing],
        prices: Mapping[str, float],
    ) -> None:
        """Try the dearest layers in integers again."""
        dearest = sorted(holding.excluded, key=lambda name: -prices.get(name, 0.0))[:_DEAREST]
        for name in dearest:
            rest = standing_of([other for other in holding.excluded if other != name])
            if rest.price < holding.price and self.may_go_on() and self.tries(rest):
                holding = rest

    def result(self) -> BudgetSearch:
        """What was found."""
        if self.best is None or self.best_trial is None:
            raise ValueError("nothing was tried")
        chosen = self.best_trial
        trials = tuple(replace(trial, kept=trial is chosen) for trial in self.trials)
        return BudgetSearch(self.best, trials, self._reason(chosen))

    def _reason(self, best: BudgetTrial) -> str:
        if best.met and not best.excluded:
            return "The budget holds with everything in integers that can be"
        if best.met:
            return (
                f"{best.excluded} layers stay float to keep the budget, "
                f"{best.price:.0%} of the cost of the whole; "
                f"{len(self.trials)} candidates were tried"
            )
        bound = "no more trials were allowed" if not self.may_go_on() else "nothing else is left"
        return (
            f"No candidate keeps the budget: the best of {len(self.trials)} scores "
            f"{best.score.candidate:.4f} against {best.score.fp32:.4f} in fp32, and {bound}"
        )


def _is_better(one: BudgetTrial, other: BudgetTrial) -> bool:
    """Met before not met; of those that are met the cheaper, of the others the better score."""
    if one.met != other.met:
        return one.met
    if one.met:
        return one.price < other.price
    return one.score.drop < other.score.drop
