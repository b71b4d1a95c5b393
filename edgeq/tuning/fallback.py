"""Leaving the layers float that cost most accuracy, when the whole is too far off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.graph import constants
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.plan import INTEGER_FORMS
from edgeq.refinement.steps import BIAS_MEASURED
from edgeq.tuning.contributions import measure_contributions
from edgeq.tuning.moves import Moves, Standing
from edgeq.validation.advice import FAR_OFF_DB
from edgeq.validation.verdict import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.tuning.candidate import Candidate, Choice
    from edgeq.tuning.workshop import Workshop

FLOAT_SHARE = 0.4
"""Fraction of what a model holds (:func:`held`) that may be given up for accuracy."""

RESCUE_SHARE = 1.0
"""The fraction where the result would be no use at all otherwise; some layer stays in integers."""

RESCUE_DB = (DEFAULT.min_sqnr or 0.0) + 6.0
"""Closeness under which a result is rescued: judged on other samples it might fail."""

COMFORT_DB = FAR_OFF_DB
"""Closeness from which no layer has to be given up, whatever the samples."""

_GAIN_DB = 0.5

DOUBT_DB = 1.0
"""What the samples that candidates are measured on tell two of them apart by, about."""

_SAMPLES = 4
_ATTEMPTS = 6
"""Candidates that are built: freed noise may show late, when a few samples decide."""
_REASON = "int8 costs accuracy here: measured on calibration samples"


@dataclass(frozen=True, slots=True)
class Fallback:
    """What leaving layers float brought.

    Attributes:
        best: The closest candidate; the one given if nothing helped.
        note: What was left float, and what it brought.
    """

    best: Candidate
    note: str


def uncoupled(workshop: Workshop, candidate: Candidate) -> Candidate:
    """The candidate without steps that make up for the errors of other layers.

    Where a layer is left float, such steps have to be taken anew, which takes long; and weights
    that make up for errors would look guilty of them when they alone are rounded.
    """
    choice = candidate.choice.uncoupled(workshop.recipe.skip_steps)
    return _with_steps_of(workshop, candidate, choice)


def lightly_coupled(workshop: Workshop, candidate: Candidate) -> Candidate:
    """The candidate with the cheapest of the steps that make up for the errors of other layers.

    Without any, a layer left float can do harm: mean errors that cancelled each other out no longer
    do (PP-OCRv4's recognizer: 37 to 13 dB by one convolution, and 41 dB with this step).
    """
    skipped = workshop.recipe.skip_steps
    choice = candidate.choice.uncoupled(skipped)
    applies = workshop.applies(BIAS_MEASURED, replace(candidate, choice=choice))
    if applies and BIAS_MEASURED.name not in skipped:
        choice = choice.with_step(BIAS_MEASURED)
    return _with_steps_of(workshop, candidate, choice)


def _with_steps_of(workshop: Workshop, candidate: Candidate, choice: Choice) -> Candidate:
    alike = choice.steps == candidate.choice.steps
    return candidate if alike else workshop.build(choice, like=candidate)


def rungs_of(
    workshop: Workshop, start: Candidate, moves: Moves, limit: float = 1.0
) -> list[Standing]:
    """Ever larger sets of nodes to leave float, as long as some layer stays in integers."""
    return [
        rung
        for rung in moves.ladder(limit)
        if any(
            decision.form in INTEGER_FORMS
            for decision in workshop.annotations(start, rung.excluded).decisions.values()
        )
    ]


def moves_of(workshop: Workshop, candidate: Candidate, prices: Mapping[str, float]) -> Moves:
    """What leaving nodes of a candidate float would bring: measured one by one, uncoupled."""
    if candidate not in workshop.contributions:
        plain = uncoupled(workshop, candidate)
        few = workshop.samples[:_SAMPLES]
        workshop.contributions[candidate] = measure_contributions(
            plain.floats.model, plain.adjusted, plain.plan, few, threads=workshop.threads
        )
    return Moves(
        candidate.floats.model,
        lambda further: workshop.annotations(candidate, further),
        workshop.contributions[candidate],
        prices,
    )


def held(model: ir.Model, arithmetic: Mapping[str, float]) -> dict[str, float]:
    """What each node holds of a model: its share of the arithmetic and that of the weights, halved.

    One makes a model slow where it stays float, the other large.

    Args:
        model: The float model.
        arithmetic: Share of the multiply-accumulates per compute node.
    """
    sizes = {
        node_name(node): sum(t.nbytes for t in map(constants.tensor, node.inputs) if t is not None)
        for node in nodes(model)
    }
    whole = max(1, sum(sizes.values()))
    return {name: (arithmetic.get(name, 0.0) + size / whole) / 2 for name, size in sizes.items()}


def leave_float(
    workshop: Workshop, start: Candidate, prices: Mapping[str, float], goal_db: float
) -> Fallback:
    """Leave ever more float, the best bargains first, until the goal is met.

    A bargain is judged by the noise it frees at the outputs for what the layer holds; what is built
    of it is measured, and kept where that bears it out. The further off the result is, the less
    that counts; beyond :data:`FLOAT_SHARE` of it only while it is not fit for use.

    Args:
        workshop: Builds and measures.
        start: The candidate to improve.
        prices: What each node holds of the model, see :func:`held`.
        goal_db: Stop when the worst output is sure of this by all samples that were kept.
    """
    light = lightly_coupled(workshop, start)
    found = _Climb(workshop, light, prices).to(goal_db)
    best = start
    if found is not light:
        best = found if light is start else _coupled_again(workshop, start, found)
    return Fallback(best, _note(start, best))


def _coupled_again(workshop: Workshop, start: Candidate, found: Candidate) -> Candidate:
    """What was found, with the steps of the start where they do it good; the start if it is closer.

    Steps that learn most gain most in the end, when they may learn from all samples: hence they
    are preferred where they are hardly behind.
    """
    again = workshop.build(replace(found.choice, steps=start.choice.steps), like=start)
    doubt_db = DOUBT_DB if again.choice.is_coupled else 0.0
    # Among samples that one of both has learned from it would win.
    gained = again.typical_db > start.typical_db + _GAIN_DB
    if gained and again.typical_db > found.typical_db - doubt_db:
        return again
    reached, before = (workshop.confirm(each).typical_db for each in (found, start))
    return found if reached > before + _GAIN_DB else start


def ranged_again(workshop: Workshop, found: Candidate) -> Candidate:
    """The candidate with other ranges, where those are closer now that its worst layers are float.

    One layer that needs its outliers cut off may have decided for all.
    """
    names = workshop.calibrators
    choices = dict.fromkeys([names, *((name,) for name in names)])
    others = [
        workshop.build(replace(found.choice, calibrators=names), like=found)
        for names in choices
        if names != found.choice.calibrators
    ]
    best = max(others, key=lambda other: other.typical_db, default=found)
    reached, before = (workshop.confirm(each).typical_db for each in (best, found))
    return best if reached > before + _GAIN_DB else found


@dataclass(frozen=True, slots=True)
class _Aim:
    """A closeness to reach, and what that is worth.

    Attributes:
        enough_db: SQNR that the worst output will hardly fall short of on other samples.
        share: Fraction of what the model holds that may be given up for it.
        price_db: Decibels that giving up all of it would have to bring, beside what any step has
            to.
    """

    enough_db: float
    share: float
    price_db: float


def _aims(goal_db: float) -> tuple[_Aim, ...]:
    """What is aimed at, the most urgent first: fit for use, bearable, close."""
    return (
        _Aim(min(goal_db, RESCUE_DB), RESCUE_SHARE, 0.0),
        _Aim(min(goal_db, COMFORT_DB), FLOAT_SHARE, 2.0),
        _Aim(goal_db, FLOAT_SHARE, 5.0),
    )


@dataclass(frozen=True, slots=True)
class _Rungs:
    """What leaving ever more of one candidate float would bring, by its own noise.

    Attributes:
        start: The candidate that was looked at.
        paid: Share of what the model holds that had been given up for it.
        further: Sets of nodes, each with the noise it frees and what it gives up.
    """

    start: Candidate
    paid: float
    further: tuple[Standing, ...]


class _Climb:
    """Leaves ever more of a candidate float.

    How far off a candidate is, is judged over all samples; which of two is closer, in a typical
    one, as few samples tell little of those that tip over. Once what makes most of the noise is
    gone, what made little of it before is looked at closely.

    Args:
        workshop: Builds and measures.
        start: What is begun with.
        prices: What each node holds of the model.
    """

    def __init__(self, workshop: Workshop, start: Candidate, prices: Mapping[str, float]) -> None:
        self._workshop, self._start, self._prices = workshop, start, prices
        self._best, self._seen, self._paid = start, workshop.confirm(start), 0.0
        rescued = self._seen.sure_db < RESCUE_DB
        self._most = RESCUE_SHARE if rescued else FLOAT_SHARE
        self._ranged = start
        self._look_from_best()

    def to(self, goal_db: float) -> Candidate:
        """The candidate that gained most for its price; the one begun with if none did."""
        for _ in range(_ATTEMPTS):
            unmet = [aim for aim in _aims(goal_db) if self._seen.sure_db < aim.enough_db]
            chosen = self._next(unmet)
            if chosen is None:
                break
            self._try(chosen, unmet[0].price_db)
        as_before = self._best.choice.calibrators == self._start.choice.calibrators
        if as_before and self._best is not self._ranged:
            self._best = ranged_again(self._workshop, self._best)
        return self._best

    def _look_from_best(self) -> None:
        """Measure what leaving more of the best float would bring."""
        moves = moves_of(self._workshop, self._best, self._prices)
        further = tuple(moves.ladder(self._most - self._paid))
        self._rungs, self._standing = _Rungs(self._best, self._paid, further), Standing()

    def _next(self, unmet: Sequence[_Aim]) -> Standing | None:
        """What to try next."""
        chosen = _best_bargain(self._rungs, self._standing, self._seen.sure_db, unmet)
        if chosen is None and unmet and self._best is not self._rungs.start:
            self._look_from_best()
            chosen = _best_bargain(self._rungs, self._standing, self._seen.sure_db, unmet)
        return chosen

    def _try(self, chosen: Standing, price_db: float) -> None:
        """Build a candidate, and keep it if it gained enough for its price."""
        workshop, rungs = self._workshop, self._rungs
        self._standing, price = chosen, rungs.paid + chosen.price
        choice = rungs.start.choice.with_excluded(chosen.excluded, _REASON)
        attempt = workshop.build(choice, like=rungs.start)
        first = self._best is self._start
        least_db = price_db * (price - self._paid) + (_GAIN_DB if first else 0.0)
        gain_db = workshop.confirm(attempt).typical_db - self._seen.typical_db
        if not attempt.plan.integer_nodes or gain_db <= least_db:
            return
        self._best, self._paid = attempt, price
        if first:
            self._best = self._ranged = ranged_again(workshop, attempt)
            if self._best is not attempt:
                self._look_from_best()
        self._seen = workshop.confirm(self._best)


def _best_bargain(
    rungs: _Rungs, standing: Standing, reached_db: float, unmet: Sequence[_Aim]
) -> Standing | None:
    """What is to be tried next: the bargain that frees most noise among those for each aim."""
    found = [_bargain(rungs, standing, reached_db, aim) for aim in unmet]
    return max((b for b in found if b), key=lambda rung: rung.freed, default=None)


def _bargain(rungs: _Rungs, standing: Standing, reached_db: float, aim: _Aim) -> Standing | None:
    """The rung beyond ``standing`` that brings most for its price; no more than needed counts."""
    # A hair's breadth below what is enough is no reason to ask for a hair only.
    needed_db = max(aim.enough_db - reached_db, 2 * _GAIN_DB)

    def profit(rung: Standing) -> float:
        gain_db = min(rung.gain_db - standing.gain_db, needed_db)
        return gain_db - aim.price_db * (rung.price - standing.price)

    allowed = aim.share - rungs.paid
    further = [r for r in rungs.further if r.freed > standing.freed and r.price <= allowed]
    best = max(further, key=profit, default=None)
    return best if best is not None and profit(best) > _GAIN_DB else None


def _note(start: Candidate, best: Candidate) -> str:
    count = len(best.choice.excluded) - len(start.choice.excluded)
    return (
        f"{count} layers stay float because int8 costs accuracy there: "
        f"{start.sqnr_db:.1f} -> {best.sqnr_db:.1f} dB"
    )
