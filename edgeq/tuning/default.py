"""The default search: a few whole candidates, measured on kept samples, the closest one wins.

Expected errors of single values say little about the output of a deep network, so the last word
belongs to a measurement: the policy ``auto`` (per value, by expected error) stands against each
calibrator alone; a recovery step stays only where it helps on samples that it has not learned
from; and where the result is still far from the original, the layers that cost most accuracy for
their arithmetic are left float. What is settled, for speed, too, then learns anew from all samples:
half of them teach less (2 dB on EfficientNet-Lite0 with 32), and none has to be kept back any more.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError, nearest
from edgeq.graph.walk import node_name, nodes
from edgeq.metrics.fidelity import CLOSE_DB, MAX_DB
from edgeq.refinement.steps import BIAS, STEPS, Stage
from edgeq.tuning.candidate import Candidate, Choice
from edgeq.tuning.fallback import COMFORT_DB, DOUBT_DB, held, leave_float
from edgeq.tuning.settle_pairs import first_form, settle_pairs
from edgeq.validation.trials import StepTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from edgeq.refinement.steps import Step
    from edgeq.tuning.workshop import Workshop

GOAL_DB = COMFORT_DB + 6.0
"""What giving up layers aims at where it is begun: a quarter of the noise that is bearable."""

ENOUGH_DB = 26.0
"""Worst-output SQNR from which no recovery step is tried."""

NOTICEABLE_DB = 0.3
"""Differences below this are noise of the few samples that candidates are measured on."""

_FINALISTS = 3
_TOLD = "the recipe leaves it float"


@dataclass(frozen=True, slots=True)
class Search:
    """What the search found.

    Attributes:
        best: The closest candidate.
        notes: What was tried and why the best was kept, in sentences.
        steps: The recovery steps that were tried, in order.
    """

    best: Candidate
    notes: tuple[str, ...]
    steps: tuple[StepTrial, ...] = ()


def search(
    workshop: Workshop,
    calibrators: Sequence[str],
    prices: Mapping[str, float],
    *,
    falls_back: bool = True,
    part: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> Search:
    """Find the closest candidate.

    Args:
        workshop: Builds and measures.
        calibrators: Names of the calibrators to choose from; with one there is no choice.
        prices: Share of the arithmetic per compute node.
        falls_back: Whether layers may be left float.
        part: Around each part of the work, by name: to time it.

    Raises:
        RecipeError: The recipe leaves a node float that there is not.
    """
    if not workshop.recipe.search:
        return Search(
            _told(workshop, calibrators), ("Nothing was searched for: done as the recipe says",)
        )
    notes: list[str] = []
    with part("ranges"):
        best, corrected = _ranged(workshop, calibrators)
    if len(calibrators) > 1 and best.ranges:
        who = "value by value" if len(best.choice.calibrators) > 1 else best.choice.calibrators[0]
        notes.append(f"Ranges were chosen {who}: {best.typical_db:.1f} dB was the closest measured")
    # Before layers are rounded, which takes long and would have to be done in every form; but with
    # biases corrected, for the same reason as ranges.
    with part("pairs"):
        judged, said = settle_pairs(workshop, corrected or best)
        if judged.choice.pairs is not best.choice.pairs:
            corrected = None if corrected is None else judged
            plain = replace(best.choice, pairs=judged.choice.pairs)
            best = judged if corrected is None else workshop.build(plain)
    notes += [said] if said else []
    with part("recovery steps"):
        best, trials = recover(workshop, best, corrected)
    if falls_back and workshop.confirm(best).sure_db < COMFORT_DB:
        with part("layers left float"):
            found = leave_float(workshop, best, held(best.floats.model, prices), GOAL_DB)
        if found.best is not best:
            notes.append(found.note)
            best = found.best
    if best.parts:
        told = (f"{name} {each.sqnr_db:.1f} dB" for name, each in sorted(best.parts.items()))
        notes.append(f"Boxes and scores were judged each by itself: {', '.join(told)}")
    return Search(best, tuple(notes), trials)


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning once more made of a candidate.

    Attributes:
        best: The candidate, nothing left to decide.
        notes: What was learned anew, in sentences.
    """

    best: Candidate
    notes: tuple[str, ...] = ()


def learn_again(workshop: Workshop, settled: Candidate) -> Learned:
    """Let the steps of a candidate learn from all samples, now that it is settled.

    That comes behind all that leaves a layer float, for speed, too: what made up for the errors of
    that layer would be an error itself.
    """
    final = workshop.learned_again(settled) if workshop.recipe.search else settled
    return Learned(final, () if final is settled else (_again(workshop, settled),))


def closer(workshop: Workshop, light: Candidate, prices: Mapping[str, float]) -> Candidate:
    """A candidate with as much left float as a search with fallback leaves; it itself if nothing.

    Args:
        workshop: Builds and measures.
        light: What a search without fallback ended with, its steps taken lightly.
        prices: Share of the arithmetic per compute node.
    """
    return leave_float(workshop, light, held(light.floats.model, prices), GOAL_DB).best


def _again(workshop: Workshop, judged: Candidate) -> str:
    """What is to be said of figures that are measured on samples that were learned from."""
    learned = [step.name for step in STEPS if step.coupled and step.name in judged.choice.steps]
    return (
        f"Once it was settled, {' and '.join(learned)} learned anew from "
        f"{workshop.most_learned_from} samples, those included that closeness is measured on; "
        f"before, {judged.typical_db:.1f} dB were measured on samples that it had not seen"
    )


def _start(workshop: Workshop, calibrators: Sequence[str]) -> Choice:
    """A choice without steps."""
    return Choice(tuple(calibrators), pairs=first_form(workshop.recipe, workshop.target))


def _told(workshop: Workshop, calibrators: Sequence[str]) -> Candidate:
    """What the recipe says, in the order in which a search comes to it.

    Ranges and steps of the float model do not know which layers are left float in the end.
    """
    recipe = workshop.recipe
    begun = replace(_start(workshop, calibrators), steps=frozenset(recipe.steps))
    first = workshop.build(begun.uncoupled(recipe.skip_steps))
    known = {node_name(node) for node in nodes(first.floats.model)}
    for key in ("left_float", "integer_for_speed", "float_for_speed"):
        for name in getattr(recipe, key):
            if name not in known:
                raise RecipeError(
                    f"there is no node {name!r}", where=key, remedy=nearest(name, known)
                )
    further = [name for name in recipe.left_float if name not in first.choice.excluded]
    told = replace(
        first.choice.with_excluded(further, _TOLD),
        steps=begun.steps,
        integer_for_speed=frozenset(recipe.integer_for_speed),
        float_for_speed=dict.fromkeys(recipe.float_for_speed, _TOLD),
    )
    return first if told == first.choice else workshop.build(told, like=first, from_all=True)


def recover(
    workshop: Workshop, candidate: Candidate, corrected: Candidate | None = None
) -> tuple[Candidate, tuple[StepTrial, ...]]:
    """Try every recovery step on top of those that helped; the result, and what each brought.

    Args:
        workshop: Builds and measures.
        candidate: Without any step.
        corrected: The same with its biases corrected, where that has been built.
    """
    best, trials = candidate, []
    for step in STEPS:
        if step.name in workshop.recipe.skip_steps:
            continue
        if workshop.confirm(best).sqnr_db >= ENOUGH_DB:
            break
        start = time.perf_counter()
        if not workshop.applies(step, best):
            continue
        known = corrected if step is BIAS else None
        attempt = known or _with_step(workshop, best, step)
        seconds = time.perf_counter() - start
        before_db, after_db = _comparable(best, attempt)
        kept = after_db > before_db + NOTICEABLE_DB
        trials.append(StepTrial(step.name, kept, before_db, after_db, seconds))
        best = attempt if kept else best
    return best, tuple(trials)


def _with_step(workshop: Workshop, best: Candidate, step: Step) -> Candidate:
    """A candidate with one more step.

    Whether correcting biases helps says nothing about a float model of other numbers: behind a step
    that acts on that it is tried again.
    """
    choice = best.choice.with_step(step)
    attempt = workshop.build(choice, like=best)
    taken = choice.steps - {BIAS.name}
    if step.stage is not Stage.FLOAT or not _corrects(workshop, attempt, taken):
        return attempt
    other = replace(choice, steps=taken if BIAS.name in choice.steps else taken | {BIAS.name})
    return max(attempt, workshop.build(other), key=_rank_db)


def _corrects(workshop: Workshop, candidate: Candidate, taken: frozenset[str]) -> bool:
    """Whether biases may be corrected beside the other steps that are taken."""
    allowed = BIAS.name not in workshop.recipe.skip_steps
    alone = replace(candidate.choice, steps=taken).has_room_for(BIAS)
    return allowed and alone and workshop.applies(BIAS, candidate)


def _comparable(one: Candidate, other: Candidate) -> tuple[float, float]:
    """The closeness of two candidates on one scale.

    What is typical, unless that counts as perfect for both.
    """
    if min(one.typical_db, other.typical_db) >= CLOSE_DB - NOTICEABLE_DB:
        return one.sqnr_db, other.sqnr_db
    return one.typical_db, other.typical_db


def _ranged(workshop: Workshop, calibrators: Sequence[str]) -> tuple[Candidate, Candidate | None]:
    """The calibrator, or all of them value by value, that is closest with its biases corrected.

    The mean error that correction takes away can hide all else. Where nothing needs correction they
    are compared as they are.

    Returns:
        The candidate without any step; and with its biases corrected, where that is how it was
        chosen.
    """
    choices = [_start(workshop, names) for names in (calibrators, *((n,) for n in calibrators))]
    first = workshop.build(choices[0])
    if len(calibrators) < 2 or not first.ranges:
        return first, None
    skipped = BIAS.name in workshop.recipe.skip_steps
    if first.is_close or skipped or not workshop.applies(BIAS, first):
        return _closest(workshop, [first, *(workshop.build(c) for c in choices[1:])]), None
    closest = _closest(workshop, [workshop.build(c.with_step(BIAS)) for c in choices])
    if closest.choice.calibrators == first.choice.calibrators:
        return first, closest
    return workshop.build(replace(closest.choice, steps=frozenset())), closest


def _closest(workshop: Workshop, candidates: Sequence[Candidate]) -> Candidate:
    """The closest of the finalists when all samples are counted; the first of equals.

    It comes back as it was built: what it will be compared with is not measured on all of them.
    """
    ranked = sorted(candidates, key=lambda candidate: -_rank_db(candidate))[:_FINALISTS]
    near_db = ranked[0].typical_db - DOUBT_DB
    finalists = [c for c in candidates if c in ranked and c.typical_db >= near_db]
    if len(finalists) == 1:
        return finalists[0]
    reached = [_rank_db(workshop.confirm(c)) for c in finalists]
    enough = max(reached) - NOTICEABLE_DB
    return next(c for c, db in zip(finalists, reached, strict=True) if db >= enough)


def _rank_db(candidate: Candidate) -> float:
    """Where a candidate stands among others, on the scale of :func:`_comparable`.

    Those that count as perfect stand above all others, in the order of their worst samples.
    """
    if candidate.typical_db < CLOSE_DB - NOTICEABLE_DB:
        return candidate.typical_db
    return CLOSE_DB + MAX_DB + candidate.sqnr_db
