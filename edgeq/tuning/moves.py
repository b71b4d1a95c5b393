"""Which nodes to leave float: what each such move frees of noise, and what it gives up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph.walk import node_name, values
from edgeq.quantization.plan import INTEGER_FORMS, NodeForm
from edgeq.types import EdgeRef, ValueRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.tuning.contributions import Contributions
    from edgeq.types import Ref

_LEAST_NOISE = 1e-3
"""Share of the noise that always stays: more than that no estimate promises to free."""

_PER_NODE = 0.002
"""Price of a node that holds no arithmetic, so that few nodes are preferred to many."""

_WORTHLESS = 0.002
"""A move that frees a smaller share than this of the noise that is left is none."""

_NOTHING = 1e-9
"""Share of the noise that sums of floats may be off by."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A set of nodes left float, and what follows from it.

    Attributes:
        excluded: The nodes, in the order in which they were chosen.
        freed: Share of the noise that is gone, 0 to 1.
        price: What is given up: the share of the arithmetic (or time) of the nodes that no longer
            run in integers.
    """

    excluded: tuple[str, ...] = ()
    freed: float = 0.0
    price: float = 0.0

    @property
    def gain_db(self) -> float:
        """By how much the SQNR rises when that share of the noise is gone."""
        return -10 * math.log10(max(1.0 - self.freed, _LEAST_NOISE))


class Moves:
    """Chooses nodes to leave float one after the other, the best bargain first.

    Args:
        model: The float model.
        annotate: What would be quantized if these nodes, too, stayed float.
        contributions: What each rounding costs.
        prices: Share of the whole that each compute node holds.
    """

    def __init__(
        self,
        model: ir.Model,
        annotate: Callable[[Sequence[str]], Annotations],
        contributions: Contributions,
        prices: Mapping[str, float],
    ) -> None:
        self._annotate = annotate
        self._contributions = contributions
        self._prices = prices
        self._start = annotate(())
        self._candidates = tuple(dict.fromkeys(_candidates(model, self._start)))

    def ladder(self, limit: float) -> Iterator[Standing]:
        """Ever larger sets, each the one before and one bargain more.

        Args:
            limit: Price that no set exceeds.
        """
        standing, before = Standing(), None
        # What frees too little of all noise may free much of what is left behind the worst.
        while standing is not before:
            before = standing
            for standing in self._rungs(before, limit):
                yield standing

    def _rungs(self, standing: Standing, limit: float) -> Iterator[Standing]:
        """Those beyond a set that free enough of the noise that is left there."""
        least = max(_WORTHLESS * (1.0 - standing.freed), _NOTHING)
        # What a move was worth before others were made bounds what it is worth now, so that most
        # need not be looked at again.
        promising = [(float("inf"), move) for move in self._candidates]
        while promising:
            best = self._best(standing, promising, limit, least)
            if best is None:
                return
            standing = best
            yield standing

    def _best(
        self,
        standing: Standing,
        promising: list[tuple[float, tuple[str, ...]]],
        limit: float,
        least: float,
    ) -> Standing | None:
        """The best bargain; brings ``promising`` up to date."""
        promising.sort(key=lambda item: -item[0])
        best, worth = None, 0.0
        for place, (bound, move) in enumerate(promising):
            if bound <= worth:
                break
            after = self.standing((*standing.excluded, *move))
            gain = after.freed - standing.freed
            cost = after.price - standing.price
            value = 0.0 if gain < least or after.price > limit else gain / max(cost, _PER_NODE)
            promising[place] = (value, move)
            if value > worth:
                best, worth = after, value
        promising[:] = [item for item in promising if item[0] > 0.0]
        return best

    def standing(self, excluded: Sequence[str]) -> Standing:
        """What leaving these nodes float means."""
        chosen = tuple(dict.fromkeys(excluded))
        after = self._annotate(chosen)
        gone = roundings(self._start) - roundings(after)
        kept = {n for n, d in after.decisions.items() if d.form in INTEGER_FORMS}
        lost = [
            n for n, d in self._start.decisions.items() if d.form in INTEGER_FORMS and n not in kept
        ]
        price = sum(self._prices.get(n, 0.0) + _PER_NODE for n in lost)
        return Standing(chosen, self._contributions.share(gone), price)


def roundings(annotations: Annotations) -> frozenset[Ref]:
    """What is rounded, named as :class:`edgeq.quantization.switched.Switched` names it."""
    dynamic = {
        EdgeRef(name, 0)
        for name, decision in annotations.decisions.items()
        if decision.form is NodeForm.DYNAMIC
    }
    return frozenset(annotations.specs) | dynamic


def _candidates(model: ir.Model, annotations: Annotations) -> Iterator[tuple[str, ...]]:
    """Sets of nodes whose leaving frees something: each node, and all around each value."""
    integer = {n for n, d in annotations.decisions.items() if d.form in INTEGER_FORMS}
    known = values(model)
    yield from ((name,) for name in annotations.decisions if name in integer)
    for ref in annotations.specs:
        value = known.get(ref.name) if isinstance(ref, ValueRef) else None
        if value is None:
            continue
        readers = tuple(node_name(u.node) for u in value.uses() if u.node.name in integer)
        maker = _maker(value, annotations.makers)
        yield readers
        if maker in integer:
            yield (*readers, maker)


def _maker(value: ir.Value, absorbed: Mapping[str, str]) -> str:
    producer = value.producer()
    name = "" if producer is None else node_name(producer)
    return absorbed.get(name, name)
