"""The models that none of the others beats in everything. Pure.

Of three figures less is better: the loss of the metric, the time of a run and the size. A model is
dominated where another one is nowhere worse and somewhere better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.validation.points import Point


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model costs; of each less is better. NaN counts as infinite: nothing is known of it.

    Attributes:
        loss: By how much the metric is worse than that of fp32, in its own unit.
        time: Of a run, by that of fp32.
        size: In bytes.
    """

    loss: float
    time: float
    size: float

    @classmethod
    def of(cls, point: Point) -> Figures:
        """Those of a point."""
        return cls(point.score.drop, point.time.ratio, float(point.size_bytes))

    def numbers(self) -> tuple[float, float, float]:
        """The three, none of them NaN."""
        loss, time, size = (
            math.inf if math.isnan(each) else each for each in (self.loss, self.time, self.size)
        )
        return loss, time, size


def dominates(one: Figures, other: Figures) -> bool:
    """Whether one is nowhere worse, and somewhere better."""
    pairs = list(zip(one.numbers(), other.numbers(), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def dominators(figures: Sequence[Figures]) -> tuple[int | None, ...]:
    """For each model one that dominates it and is dominated by none; None for the frontier.

    Models alike in all three are both on the frontier, or neither.
    """
    best = [
        place
        for place, each in enumerate(figures)
        if not any(dominates(other, each) for other in figures)
    ]
    return tuple(
        next((place for place in best if dominates(figures[place], each)), None) for each in figures
    )
