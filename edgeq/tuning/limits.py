"""A limit on one of the three figures, and the model that is picked under it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.errors import RecipeError
from edgeq.tuning.frontier import Figures
from edgeq.validation.points import ORIGINAL
from edgeq.validation.verdict import parse_drop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.validation.points import Point

DROP: Final = "max_drop"
LATENCY: Final = "max_latency"
SIZE: Final = "max_size"

_ROUNDING = 1e-9
_UNITS = {
    LATENCY: {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3},
    SIZE: {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20},
}
_EXAMPLES = {LATENCY: "12.5 (milliseconds), 60% or 0.6x", SIZE: "2000000 (bytes), 2MB, 30% or 0.3x"}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z%]*)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a model must not exceed.

    Attributes:
        kind: :data:`DROP`, :data:`LATENCY` or :data:`SIZE`.
        amount: In the metric's unit, milliseconds or bytes; a fraction of fp32's figure where
            relative.
        relative: Whether it is one.
    """

    kind: str
    amount: float
    relative: bool

    @property
    def option(self) -> str:
        """What the command line calls it."""
        return f"--{self.kind.replace('_', '-')}"

    def allowed(self, point: Point) -> float:
        """The largest figure, in the unit of :meth:`figure`."""
        if not self.relative:
            return self.amount
        # Sizes and times are divided by fp32's themselves.
        return self.amount * abs(point.score.fp32) if self.kind == DROP else self.amount

    def figure(self, point: Point) -> float:
        """What of a point is limited."""
        if self.kind == DROP:
            return point.score.drop
        if self.kind == LATENCY:
            return point.time.ratio if self.relative else point.time.milliseconds
        return point.size_ratio if self.relative else float(point.size_bytes)

    def holds(self, point: Point) -> bool:
        """Whether a point keeps to it."""
        # A difference of two scores may be off by rounding; NaN keeps to nothing.
        slack = _ROUNDING * max(1.0, abs(point.score.fp32)) if self.kind == DROP else 0.0
        return self.figure(point) <= self.allowed(point) + slack

    def order(self, point: Point) -> tuple[float, ...]:
        """Where a point stands among those that keep to it: the least is picked."""
        loss, time, size = Figures.of(point).numbers()
        return (time, loss, size) if self.kind == DROP else (loss, time, size)


@dataclass(frozen=True, slots=True)
class Picked:
    """The point under a limit.

    Attributes:
        point: None where there is none.
        reason: Why it is that one, or why there is none, in a sentence.
    """

    point: Point | None
    reason: str


def parse_limit(kind: str, text: str) -> Limit:
    """Read a limit.

    Args:
        kind: Of the limit.
        text: A number with or without its unit; a fraction as ``60%`` or ``0.6x``.

    Raises:
        RecipeError: It is none.
    """
    if kind == DROP:
        return Limit(kind, *parse_drop(text))
    found = _NUMBER.fullmatch(text)
    unit = found[2].lower() if found else ""
    if found is not None and unit in ("%", "x"):
        return Limit(kind, float(found[1]) / (100.0 if unit == "%" else 1.0), relative=True)
    if found is None or unit not in _UNITS[kind]:
        what = "latency" if kind == LATENCY else "size"
        raise RecipeError(
            f"{text!r} is no {what}",
            where=f"--{kind.replace('_', '-')}",
            remedy=f"Write {_EXAMPLES[kind]}",
        )
    return Limit(kind, float(found[1]) * _UNITS[kind][unit], relative=False)


def pick(points: Sequence[Point], limit: Limit) -> Picked:
    """The fastest that keeps its score; or else the most accurate fast or small enough.

    The original itself is never picked, nor what misses a threshold.
    """
    made = [point for point in points if point.scheme != ORIGINAL]
    good = [point for point in made if not point.failures]
    holding = [point for point in good if limit.holds(point)]
    if holding:
        best = min(holding, key=limit.order)
        which = "fastest" if limit.kind == DROP else "most accurate"
        return Picked(best, f"{best.name} is the {which} of {len(holding)} that keep to the limit")
    return Picked(None, _nothing(made, good, limit))


def _nothing(made: Sequence[Point], good: Sequence[Point], limit: Limit) -> str:
    if not good:
        why = f" ({made[0].name}: {made[0].failures[0]})" if made else ""
        return f"none of {len(made)} models is close enough to the original to be picked{why}"
    nearest = min(good, key=lambda point: Figures(limit.figure(point), 0.0, 0.0).numbers())
    tell = _TOLD[limit.kind]
    return (
        f"none of {len(good)} models keeps to {limit.option}: {nearest.name} is nearest with "
        f"{tell(limit.figure(nearest), limit.relative)}, "
        f"{tell(limit.allowed(nearest), limit.relative)} is allowed"
    )


def _ratio(figure: float) -> str:
    return f"{figure:.2f} times that of fp32"


_TOLD: Final[dict[str, Callable[[float, bool], str]]] = {
    DROP: lambda figure, _: f"a drop of {figure:.4f}",
    LATENCY: lambda figure, relative: _ratio(figure) if relative else f"{figure:.3g} ms",
    SIZE: lambda figure, relative: _ratio(figure) if relative else f"{figure:.0f} bytes",
}
