"""Leaving the layers float that cost most accuracy, when the whole is too far off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.quantization.plan import NodeForm
from edgeq.validation.layers import compare_layers
from edgeq.validation.verdict import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeq.quantization.plan import QuantPlan
    from edgeq.tuning.candidate import Candidate, Workshop

FLOAT_SHARE = 0.4
"""Fraction of the multiply-accumulates that may be given up for accuracy."""

RESCUE_SHARE = 1.0
"""The fraction where the result would be no use at all otherwise; some layer stays in integers."""

RESCUE_DB = (DEFAULT.min_sqnr or 0.0) + 6.0
"""Worst-output SQNR under which a result is rescued: judged on other samples it might fail."""

NEGLIGIBLE_SHARE = 0.002
"""A layer with less than this fraction of the arithmetic gains nothing worth having in integers."""

_INTEGER = (NodeForm.STATIC, NodeForm.DYNAMIC)
_GAIN_DB = 0.5
_PRICE_DB = 3.0
"""Decibels that giving up all arithmetic would have to bring, beside what any step has to."""

_LAYER_SAMPLES = 4
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


def leave_float(
    workshop: Workshop, start: Candidate, macs: Mapping[str, int | None], goal_db: float
) -> Fallback:
    """Try ever larger sets of layers in float until the goal is met or the arithmetic given up.

    First the layers that hold a negligible part of the arithmetic (the gates of squeeze-and-excite
    blocks are such), then those at whose output the SQNR falls furthest, 1, 2, 4, ... at a time,
    within :data:`FLOAT_SHARE`; beyond it only while the result is not fit for use.

    Args:
        workshop: Builds and measures.
        start: The candidate to improve.
        macs: Multiply-accumulates per compute node.
        goal_db: Stop when the worst output reaches this on all samples that were kept.
    """
    best, reached_db = start, workshop.confirm(start).sqnr_db
    ranked = _ranked(workshop, start)
    attempts: tuple[tuple[Iterable[Sequence[str]], float], ...] = (
        ([list(_negligible(start.plan, macs))], goal_db),
        (_prefixes(_affordable(ranked, macs, FLOAT_SHARE)), goal_db),
        (_prefixes(_affordable(ranked, macs, RESCUE_SHARE)), min(goal_db, RESCUE_DB)),
    )
    tried = {frozenset(start.choice.excluded)}
    for sets, enough_db in attempts:
        for nodes in sets:
            if reached_db >= enough_db:
                break
            wanted = frozenset({*best.choice.excluded, *nodes})
            if wanted in tried:
                continue
            tried.add(wanted)
            attempt = workshop.build(best.choice.with_excluded(nodes, _REASON))
            if _pays(best, attempt, macs):
                best, reached_db = attempt, workshop.confirm(attempt).sqnr_db
    count = len(best.choice.excluded) - len(start.choice.excluded)
    return Fallback(
        best,
        f"{count} layers stay float because int8 costs accuracy there: "
        f"{start.sqnr_db:.1f} -> {best.sqnr_db:.1f} dB",
    )


def _pays(best: Candidate, attempt: Candidate, macs: Mapping[str, int | None]) -> bool:
    """Whether what was given up brought enough; a result of no use is bettered at any price."""
    if not any(d.form in _INTEGER for d in attempt.plan.decisions):
        return False
    given_up = _integer_macs(best.plan, macs) - _integer_macs(attempt.plan, macs)
    share = given_up / max(1, sum(count or 0 for count in macs.values()))
    price = _PRICE_DB * share if best.sqnr_db >= RESCUE_DB else 0.0
    return attempt.sqnr_db > best.sqnr_db + _GAIN_DB + price


def _integer_macs(plan: QuantPlan, macs: Mapping[str, int | None]) -> int:
    return sum(macs.get(d.node) or 0 for d in plan.decisions if d.form in _INTEGER)


def _negligible(plan: QuantPlan, macs: Mapping[str, int | None]) -> Iterator[str]:
    total = sum(count or 0 for count in macs.values())
    for decision in plan.decisions:
        count = macs.get(decision.node)
        known = decision.form in _INTEGER and count is not None
        if known and (count or 0) < NEGLIGIBLE_SHARE * total:
            yield decision.node


def _ranked(workshop: Workshop, start: Candidate) -> list[str]:
    """The layers in integers, the one where the SQNR falls furthest first."""
    layers = compare_layers(
        workshop.prepared, start.model, start.plan, workshop.samples[:_LAYER_SAMPLES]
    )
    integer = {d.node for d in start.plan.decisions if d.form in _INTEGER}
    falling = sorted(layers, key=lambda layer: -layer.fall_db)
    return [layer.name for layer in falling if layer.fall_db > 0 and layer.name in integer]


def _affordable(
    ranked: Sequence[str], macs: Mapping[str, int | None], share: float
) -> Sequence[str]:
    """As many of the layers as hold at most that share of the arithmetic."""
    total = sum(count or 0 for count in macs.values())
    spent = 0
    for index, name in enumerate(ranked):
        spent += macs.get(name) or 0
        if spent > share * total:
            return ranked[:index]
    return ranked


def _prefixes(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The first 1, 2, 4, ... of the names, and all."""
    size = 1
    while size < 2 * len(names):
        yield names[:size]
        size *= 2
