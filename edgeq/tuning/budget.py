"""Keeping a budget: the smallest set of layers left float with which the metric holds.

Trials are full runs over evaluation data, so they are few. The first ones are all in integers, and
what a run without a budget would leave float. Then, on the ladder of best bargains (see
:mod:`edgeq.tuning.moves`) below or above that, each one tells where to look next, as a score falls
by about what the amplitude of the noise is; then what is left of the ladder is halved. In the end
the dearest layers are put back where the budget holds without them.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.tuning.fallback import lightly_coupled, moves_of, rungs_of
from edgeq.tuning.moves import Standing
from edgeq.validation.trials import BudgetTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.moves import Moves
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
    closer: Callable[[Candidate], Candidate],
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
        closer: What leaves as much of it float, its steps taken lightly, as a run without a budget
            does; it itself if that is nothing. Asked for once there is a need to, as are
            ``prices``.
        prices: What leaving each node float costs, as a share of the whole.
        evaluate: Runs a candidate over the evaluation data.
        holds: Whether a candidate with such a score is within the budget.
        limits: How long to search.
        allowed: The largest loss for a score of the original.
        progress: Told the trials done and the most there can be.
    """
    search = _Search(workshop, start, evaluate, holds, limits, allowed, progress)
    if not search.tries(start, 0.0) and search.may_go_on():
        light = lightly_coupled(workshop, start)
        search.look(light, closer(light), prices())
    return search.result()


@dataclass(frozen=True, slots=True)
class _Ladder:
    """Ever larger sets of nodes to leave float beyond a candidate.

    Attributes:
        start: The candidate, its steps taken lightly.
        moves: What leaving nodes of it float brings.
        paid: What has been given up for it already.
    """

    start: Candidate
    moves: Moves
    paid: float = 0.0


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
    best: Candidate | None = None
    best_trial: BudgetTrial | None = None

    def may_go_on(self) -> bool:
        """Whether another trial is allowed."""
        late = self.limits.seconds is not None and self.seconds() >= self.limits.seconds
        return not self.trials or (len(self.trials) < self.limits.trials and not late)

    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self.began

    def tries(self, candidate: Candidate, price: float, begun: float | None = None) -> bool:
        """Whether the budget holds with a candidate that gives up so much.

        Args:
            candidate: The candidate.
            price: What it gives up.
            begun: When its making began, in seconds since the search did; None for now.
        """
        begun = self.seconds() if begun is None else begun
        score = self.evaluate(candidate)
        met = self.holds(candidate, score)
        count = len(candidate.choice.excluded) - len(self.start.choice.excluded)
        took = self.seconds() - begun
        trial = BudgetTrial(count, price, score, candidate.sqnr_db, met, took)
        self.trials.append(trial)
        if self.best_trial is None or _is_better(trial, self.best_trial):
            self.best, self.best_trial = candidate, trial
        self.progress(len(self.trials), self.limits.trials)
        return met

    def look(self, light: Candidate, found: Candidate, prices: Mapping[str, float]) -> None:
        """Find what holds: less than ``found`` leaves float where that does, else more.

        Args:
            light: The start, its steps taken lightly.
            found: What more of it a run without a budget leaves float; it itself if nothing.
            prices: What leaving each node float costs.
        """
        ladder = self._ladder(light, prices)
        rungs = rungs_of(self.workshop, light, ladder.moves)
        if found is light:
            holding = self.climb(ladder, rungs, self.trials[0].score)
        else:
            before = light.choice.excluded
            usual = ladder.moves.standing([n for n in found.choice.excluded if n not in before])
            if self.tries_usual(found, usual.price):
                less = [rung for rung in rungs if rung.price < usual.price]
                holding = self.climb(ladder, less, self.trials[0].score) or usual
            else:
                ladder = self._ladder(found, prices, usual.price)
                rungs = rungs_of(self.workshop, found, ladder.moves)
                holding = self.climb(ladder, rungs, self.trials[-1].score)
        if holding is not None:
            self.put_back(ladder, holding, prices)

    def _ladder(self, start: Candidate, prices: Mapping[str, float], paid: float = 0.0) -> _Ladder:
        return _Ladder(start, moves_of(self.workshop, start, prices), paid)

    def tries_usual(self, found: Candidate, price: float) -> bool:
        """Whether the budget holds with what a run without one leaves float."""
        begun = self.seconds()
        choice = replace(found.choice, steps=self.start.choice.steps)
        candidate = self.workshop.build(choice, like=self.start, from_all=True)
        return self.tries(candidate, price, begun)

    def tries_rung(self, ladder: _Ladder, rung: Standing) -> bool:
        """Whether the budget holds with the nodes of a rung left float."""
        begun = self.seconds()
        choice = ladder.start.choice.with_excluded(rung.excluded, _REASON)
        # Nothing is judged by the samples of calibration any more: all may be learned from.
        candidate = self.workshop.build(choice, like=ladder.start, from_all=True)
        return self.tries(candidate, ladder.paid + rung.price, begun)

    def climb(self, ladder: _Ladder, rungs: Sequence[Standing], score: Score) -> Standing | None:
        """The lowest rung that holds, as far as trials allow; None if none was found.

        Args:
            ladder: What the rungs are of.
            rungs: Where to look.
            score: That of the start of the ladder.
        """
        below, above, last = -1, len(rungs), Standing()
        guesses = 0
        while above - below > 1 and self.may_go_on():
            place = (below + above) // 2
            if guesses < _GUESSES:
                place = self._promising(rungs[below + 1 : above], last, score) + below + 1
                guesses += 1
            last = rungs[place]
            if self.tries_rung(ladder, last):
                above = place
            else:
                below = place
            score = self.trials[-1].score
        return rungs[above] if above < len(rungs) else None

    def _promising(self, rungs: Sequence[Standing], last: Standing, score: Score) -> int:
        """The lowest of some rungs that should hold by what was lost with ``last``; or the top."""
        allowed = self.allowed(score.fp32)

        def amplitude(rung: Standing) -> float:
            return math.sqrt(max(1.0 - rung.freed, 0.0))

        enough = allowed * amplitude(last)
        holding = (p for p, rung in enumerate(rungs) if score.drop * amplitude(rung) <= enough)
        return next(holding, len(rungs) - 1)

    def put_back(self, ladder: _Ladder, holding: Standing, prices: Mapping[str, float]) -> None:
        """Try the dearest layers in integers again."""
        dearest = sorted(holding.excluded, key=lambda name: -prices.get(name, 0.0))[:_DEAREST]
        for name in dearest:
            left = [other for other in holding.excluded if other != name]
            rest = ladder.moves.standing(left)
            if rest.price < holding.price and self.may_go_on() and self.tries_rung(ladder, rest):
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
