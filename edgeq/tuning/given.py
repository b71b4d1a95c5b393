"""Costs that were measured elsewhere, and what they predict of candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError
from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.ops import Constraint, rule_for
from edgeq.quantization.plan import INTEGER_FORMS, NodeForm
from edgeq.tuning.clock import NOTICEABLE
from edgeq.tuning.costs import USUAL, Costs, measured_costs
from edgeq.tuning.costs_file import CostsFile, DeviceProfile, is_integer_kernel
from edgeq.tuning.placement import owner
from edgeq.tuning.speed import (
    Hastened,
    bridged_choices,
    cross_bridges,
    elements_in,
    reason_for_float,
    slow_layers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.runtime.profile import NodeTime
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.workshop import Workshop


@dataclass(frozen=True, slots=True)
class GivenCosts:
    """Files of costs of one model.

    Attributes:
        files: In the order given; what a later one tells of a node replaces what an earlier did.
    """

    files: tuple[CostsFile | DeviceProfile, ...]

    @property
    def told(self) -> str:
        """Where they come from."""
        return "; ".join(dict.fromkeys(each.measured_on for each in self.files))

    def costs(self, workshop: Workshop, start: Candidate) -> Costs:
        """The costs of the nodes of a candidate.

        Args:
            workshop: Built it.
            start: The candidate without anything that was decided for speed: the one that a
                profile of an int8 model is of.

        Raises:
            RecipeError: They tell nothing of its nodes, or are of other ones.
        """
        model, elements = start.floats.model, elements_in(workshop, start)
        profiles = [each for each in self.files if isinstance(each, DeviceProfile)]
        known = Costs({}, {}, USUAL, USUAL, elements)
        floating = tuple(t for p in profiles if not p.has_integers for t in p.times)
        if profiles:
            mixed = tuple(t for p in profiles if p.has_integers for t in p.times)
            inside = _ran_in_integers(start, mixed)
            known = measured_costs(model, start.model, floating, mixed, inside, elements)
        for each in self.files:
            if isinstance(each, CostsFile):
                known = replace(
                    known,
                    floating={**known.floating, **each.floating},
                    integer={**known.integer, **each.integer},
                    quantize=each.quantize,
                    dequantize=each.dequantize,
                )
        _require_known(model, start, known)
        return known


def _ran_in_integers(start: Candidate, mixed: Sequence[NodeTime]) -> frozenset[str]:
    """Which nodes of the float model a profile of an int8 model shows in integers.

    Integer operators say so by name; operators that merely move data run the same on both, and
    are in integers where they are so in the candidate.

    Raises:
        RecipeError: An integer operator is called after no node of the model.
    """
    named = {node_name(node): node for node in nodes(start.floats.model)}
    made = {node_name(node) for node in nodes(start.model)}
    inside, found = start.plan.integer_nodes, set()
    for time in mixed:
        node = named.get(time.name)
        if is_integer_kernel(time.op_type):
            if node is None and time.name not in made:
                raise RecipeError(
                    f"a profile has the {time.op_type} {time.name!r}, and the model no such node",
                    where="--costs",
                    remedy="Profile the int8 model that edgeq quantize --no-latency-tuning makes "
                    "of this one",
                )
            found.add(time.name)
        elif node is not None and time.name in inside and time.op_type == node.op_type:
            rule = rule_for(node)
            if rule is not None and rule.output is Constraint.SAME_AS_INPUT:
                found.add(time.name)
    return frozenset(found & named.keys())


def _require_known(model: ir.Model, start: Candidate, costs: Costs) -> None:
    inside = start.plan.integer_nodes
    both = costs.floating.keys() & costs.integer.keys() & inside
    if not both:
        named = {node_name(node) for node in nodes(model)}
        count = len((costs.floating.keys() | costs.integer.keys()) & named)
        raise RecipeError(
            f"the costs tell of no layer what it takes in float and in integers: of "
            f"{len(inside)} layers {count} are named",
            where="--costs",
            remedy="Measure again with this version of edgeq",
        )


class Predictor:
    """What candidates take, by given costs.

    Args:
        workshop: Built them.
        start: What the costs were resolved for.
        costs: The costs.
    """

    def __init__(self, workshop: Workshop, start: Candidate, costs: Costs) -> None:
        self._workshop = workshop
        self._start = start
        self.costs = _evened(costs, start.plan.integer_nodes)

    def knows(self, names: frozenset[str]) -> bool:
        """Whether both times are known of each of these nodes."""
        return names <= self.costs.floating.keys() & self.costs.integer.keys()

    def original_us(self) -> float:
        """Microseconds of the float model."""
        named = {node_name(node) for node in nodes(self._start.floats.model)}
        return sum(us for name, us in self.costs.floating.items() if name in named)

    def speedup(self, before: Candidate, after: Candidate) -> float:
        """Time of one candidate by that of another."""
        return self.microseconds(before) / max(self.microseconds(after), 1e-9)

    def microseconds(self, candidate: Candidate) -> float:
        """Microseconds of a candidate, conversions included."""
        annotations = self._workshop.annotations(candidate)
        forms = {name: d.form for name, d in annotations.decisions.items()}
        model, absorbed = candidate.floats.model, annotations.makers
        total = 0.0
        for node in nodes(model):
            form = forms.get(owner(node_name(node), absorbed))
            inside = form in INTEGER_FORMS
            times = self.costs.integer if inside else self.costs.floating
            total += times.get(node_name(node), 0.0)
            total += sum(self._crossing(value, forms, absorbed) for value in node.outputs)
        return total + sum(self._crossing(v, forms, absorbed) for v in model.graph.inputs)

    def _crossing(
        self, value: ir.Value, forms: Mapping[str, NodeForm], absorbed: Mapping[str, str]
    ) -> float:
        """Of the conversions that a value goes through: one to integers, one back a reader."""
        producer = value.producer()
        if value.const_value is not None:
            return 0.0

        def is_static(node: ir.Node | None) -> bool:
            name = "" if node is None else owner(node_name(node), absorbed)
            return forms.get(name) is NodeForm.STATIC

        readers = [is_static(use.node) for use in value.uses()]
        readers += [False] * value.is_graph_output()
        size = self.costs.elements.get(name_of(value), 1)
        if is_static(producer):
            return readers.count(False) * self.costs.dequantize.of(size)
        return self.costs.quantize.of(size) if any(readers) else 0.0


def _evened(costs: Costs, inside: frozenset[str]) -> Costs:
    """The costs with layers of which one time is unknown as fast there as on the other side.

    Nothing is decided by what nobody has measured.
    """
    floating, integer = dict(costs.floating), dict(costs.integer)
    for name in inside:
        if name in floating:
            integer.setdefault(name, floating[name])
        elif name in integer:
            floating[name] = integer[name]
    return replace(costs, floating=floating, integer=integer)


def hasten_by(
    workshop: Workshop, start: Candidate, prices: Mapping[str, float], given: GivenCosts
) -> Hastened:
    """What given costs predict to be faster; nothing is timed.

    Args:
        workshop: Builds candidates, and measures how close they are.
        start: The candidate.
        prices: Share of the arithmetic per compute node.
        given: The costs.

    Raises:
        RecipeError: The costs do not fit the model.
    """
    predictor = Predictor(workshop, start, given.costs(workshop, start))
    choices = (
        choice
        for choice in bridged_choices(workshop, start)
        if predictor.knows(choice.integer_for_speed)
    )
    told = f"predicted by costs of {given.told}:"
    crossed = cross_bridges(workshop, start, choices, predictor.speedup, told)
    placed = _placed(workshop, crossed.best, prices, predictor)
    gain = 1.0 if placed is None else predictor.speedup(crossed.best, placed)
    if placed is None or gain <= NOTICEABLE:
        return crossed
    count = len(placed.choice.float_for_speed)
    said = f"{count} layers stay float: predicted {gain:.2f} times as fast by costs of {given.told}"
    return Hastened(placed, (*crossed.notes, said))


def _placed(
    workshop: Workshop, best: Candidate, prices: Mapping[str, float], predictor: Predictor
) -> Candidate | None:
    slow = slow_layers(workshop, best, predictor.costs, prices)
    if not slow:
        return None
    reasons = {name: reason_for_float(name, predictor.costs) for name in sorted(slow)}
    choice = replace(best.choice, float_for_speed=reasons)
    return workshop.build(choice, like=best, same_weights=True)
