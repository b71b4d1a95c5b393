"""Making a candidate faster where measuring shows it: bridges in integers, slow layers in float."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.graph.walk import is_op, node_name, nodes
from edgeq.quantization.eligibility import bridges
from edgeq.quantization.plan import NodeForm
from edgeq.tuning.clock import NOTICEABLE, Clock
from edgeq.tuning.costs import USUAL, Costs, elements_of
from edgeq.tuning.placement import slower_in_integers
from edgeq.validation.advice import FAR_OFF_DB
from edgeq.validation.coverage import value_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import onnx_ir as ir

    from edgeq.tuning.candidate import Candidate, Choice
    from edgeq.tuning.workshop import Workshop

BEARABLE_DB = 1.0
"""Closeness that bridges may cost in a typical sample."""

_WORTH = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What having all arithmetic in integers is worth, in times of the whole model, as integers also
save memory and energy: the least of these with which enough stays in integers."""

INTEGER_SHARES = (0.95, 0.9, 0.8, 0.65, 0.5)
"""Part of the arithmetic in integers that stays there: less only where the model would be slower
than the original."""

_LEAST_US = 300.0
"""Time of a run below which nothing can be told: profiles count in microseconds."""

_ROUNDS = 4
_GATES = ("HardSigmoid", "Sigmoid")


@dataclass(frozen=True, slots=True)
class Hastened:
    """What was found.

    Attributes:
        best: The fastest candidate.
        notes: What was done and what it brought, in sentences.
    """

    best: Candidate
    notes: tuple[str, ...] = ()


def hasten(workshop: Workshop, start: Candidate, prices: Mapping[str, float]) -> Hastened:
    """Try what may be faster than a candidate; what is stays.

    Args:
        workshop: Builds and measures.
        start: The candidate.
        prices: Share of the arithmetic per compute node.
    """
    clock = Clock(workshop)
    if sum(spent.microseconds for spent in clock.profiles(start.model)[0]) < _LEAST_US:
        return Hastened(start)
    choices = bridged_choices(workshop, start)
    crossed = cross_bridges(workshop, start, choices, clock.speedup, "as measured:")
    profiled = tuple(dict.fromkeys((start, crossed.best)))
    costs = clock.costs(profiled, _no_costs(workshop, start))
    trials, judged = _Trials(workshop, clock, crossed.best, prices, costs), None
    for share in INTEGER_SHARES:
        trials.improve(share)
        if trials.best is not judged and clock.is_faster(workshop.original, trials.best.model):
            break
        judged = trials.best
    if trials.best is crossed.best:
        return crossed
    count = len(trials.best.choice.float_for_speed)
    said = f"{count} layers stay float because they are faster so: {trials.gain:.2f} times"
    if trials.share < INTEGER_SHARES[0]:
        said += ", with fewer of them the model would be slower than the original"
    return Hastened(trials.best, (*crossed.notes, said))


def cross_bridges(
    workshop: Workshop,
    start: Candidate,
    choices: Iterable[Choice],
    speedup: Callable[[Candidate, Candidate], float],
    told: str,
) -> Hastened:
    """The first choice of bridges that costs little, if it is faster.

    Ranges that were chosen while float operators stood between the layers may cut off what those
    would have to carry: where they do, others are tried.

    Args:
        workshop: Builds candidates.
        start: The candidate without bridges.
        choices: With ever fewer of them.
        speedup: Time of one candidate by that of another.
        told: How that is known.
    """
    for choice in choices:
        attempt = _bridged(workshop, start, choice)
        if attempt is None:
            continue
        gain = speedup(start, attempt)
        if gain <= NOTICEABLE:
            break
        said = (
            f"{len(choice.integer_for_speed)} operators between integer layers run in integers, "
            f"too, {told} {gain:.2f} times as fast, {start.typical_db:.1f} -> "
            f"{attempt.typical_db:.1f} dB"
        )
        if attempt.choice.calibrators != start.choice.calibrators:
            said += f", with the ranges of {attempt.choice.calibrators[0]}"
        return Hastened(attempt, (said,))
    return Hastened(start)


def _bridged(workshop: Workshop, start: Candidate, choice: Choice) -> Candidate | None:
    """A choice of bridges built, with other ranges where need be; None where none is close enough.

    It keeps the weights of the candidate without bridges.
    """

    def build(calibrators: tuple[str, ...]) -> Candidate:
        ranged = replace(choice, calibrators=calibrators)
        return workshop.build(ranged, like=start, same_weights=True)

    first = build(choice.calibrators)
    if _is_close_enough(first, start):
        return first
    rest = [(name,) for name in workshop.calibrators if (name,) != choice.calibrators]
    found = [each for each in map(build, rest) if _is_close_enough(each, start)]
    return max(found, key=lambda each: (each.typical_db, each.sqnr_db), default=None)


def _is_close_enough(attempt: Candidate, start: Candidate) -> bool:
    """Whether bridges cost little, and nothing that had to be won back."""
    bearable = attempt.is_close or attempt.typical_db >= start.typical_db - BEARABLE_DB
    return bearable and attempt.sqnr_db >= min(start.sqnr_db, FAR_OFF_DB)


def bridged_choices(workshop: Workshop, start: Candidate) -> Iterator[Choice]:
    """The candidate with ever fewer bridges; gates of their own input cost least."""
    model = start.floats.model
    everything = bridges(model, workshop.target)
    seen: set[frozenset[str]] = {start.choice.integer_for_speed}
    for group in (everything, everything & own_gates(model)):
        choice = replace(start.choice, integer_for_speed=group)
        decisions = workshop.annotations(replace(start, choice=choice)).decisions
        taken = frozenset(n for n in group if decisions[n].form is NodeForm.STATIC)
        if taken not in seen:
            seen.add(taken)
            yield replace(choice, integer_for_speed=taken)


def own_gates(model: ir.Model) -> frozenset[str]:
    """Names of products of a value and a gate of it, and of those gates: x * Sigmoid(x)."""
    found = set()
    for node in nodes(model):
        if not is_op(node, "Mul"):
            continue
        for gated, gate in (node.inputs, node.inputs[::-1]):
            maker = None if gate is None else gate.producer()
            if maker is not None and is_op(maker, *_GATES) and maker.inputs[0] is gated:
                found |= {node_name(node), node_name(maker)}
    return frozenset(found)


class _Trials:
    """Candidates with ever more layers in float, each built and timed once.

    What is tried is measured node by node, whether it is faster or not: the next one knows more.

    Attributes:
        best: The fastest.
        gain: How much faster that is than where it began.
        share: Part of the arithmetic in integers that it was to keep there.
    """

    def __init__(
        self,
        workshop: Workshop,
        clock: Clock,
        start: Candidate,
        prices: Mapping[str, float],
        costs: Costs,
    ) -> None:
        self.best, self.gain, self.share = start, 1.0, 1.0
        self._workshop = workshop
        self._clock = clock
        self._start = start
        self._prices = prices
        self._costs = costs
        self._tried = {frozenset(start.choice.float_for_speed)}

    def improve(self, share: float) -> None:
        """Leave the layers float that are faster so, while ``share`` stays in integers."""
        for _ in range(_ROUNDS):
            slow = slow_layers(self._workshop, self._start, self._costs, self._prices, share)
            if slow in self._tried:
                return
            self._tried.add(slow)
            reasons = {name: reason_for_float(name, self._costs) for name in sorted(slow)}
            choice = replace(self._start.choice, float_for_speed=reasons)
            attempt = self._workshop.build(choice, like=self._start, same_weights=True)
            faster = self._clock.speedup(self.best, attempt)
            if faster > NOTICEABLE:
                self.best, self.gain, self.share = attempt, self.gain * faster, share
            self._costs = self._clock.costs([attempt], self._costs)


def slow_layers(
    workshop: Workshop,
    start: Candidate,
    costs: Costs,
    prices: Mapping[str, float],
    share: float = INTEGER_SHARES[0],
) -> frozenset[str]:
    """The layers to leave float while ``share`` of the arithmetic in integers stays there."""
    annotations, inside = workshop.annotations(start), start.plan.integer_nodes
    whole = sum(prices.get(name, 0.0) for name in inside)
    total = sum(costs.floating.values())
    for times in _WORTH:
        worth = {name: times * total * prices.get(name, 0.0) for name in inside}
        slow = slower_in_integers(start.floats.model, annotations, costs, worth)
        if sum(prices.get(name, 0.0) for name in inside - slow) >= share * whole > 0.0:
            return slow
    return frozenset()


def elements_in(workshop: Workshop, candidate: Candidate) -> dict[str, int]:
    """Number of elements of each value of the float model."""
    model = candidate.floats.model
    named = {v.name for n in nodes(model) for v in (*n.inputs, *n.outputs) if v is not None}
    return elements_of(value_shapes(model, workshop.samples[0], {name for name in named if name}))


def profiled_costs(workshop: Workshop, start: Candidate) -> Costs:
    """What each node takes on this machine, bridges in integers included.

    Args:
        workshop: Builds and measures.
        start: A candidate without anything that was decided for speed.
    """
    crossed = next(bridged_choices(workshop, start), None)
    candidates = [start]
    if crossed is not None:
        candidates.insert(0, workshop.build(crossed, like=start, same_weights=True))
    return Clock(workshop).costs(candidates, _no_costs(workshop, start))


def _no_costs(workshop: Workshop, candidate: Candidate) -> Costs:
    return Costs({}, {}, USUAL, USUAL, elements_in(workshop, candidate))


def reason_for_float(name: str, costs: Costs) -> str:
    """Why a node stays float, with both of its times."""
    floating, integer = costs.floating.get(name), costs.integer.get(name)
    if floating is None or integer is None:
        return "it is faster in float"
    return (
        f"it is faster in float: {floating:.0f} microseconds, {integer:.0f} in integers, "
        "beside conversions"
    )
