"""The ladder that ``edgeq guide`` walks: what to try next, by whether the last model was good."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeq.tuning.frontier import Figures, dominators

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

_EFFORTS: Final = {"w8": 0.6, "dynamic": 0.8, "fp16": 0.4}
"""Time to make and measure a model of a scheme, in that of one whose layers learn from data."""

_SEARCHING: Final = 2.0
"""The same of one that tries several: mixed widths, or a budget."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the ladder depends on.

    Attributes:
        language: Whether it is a language model: tokens in, logits of each position out.
        cached: Whether it has a cache as inputs and outputs.
        has_data: Whether there are samples to learn from.
        max_drop: The budget, as written on the command line.
    """

    language: bool
    cached: bool
    has_data: bool
    max_drop: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One model to make.

    Attributes:
        scheme: Its scheme.
        options: Further keyword arguments of :func:`edgeq.quantize`.
        flags: The same on the command line.
        needs_data: Whether samples change what comes out.
    """

    scheme: str
    options: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    needs_data: bool = True

    @property
    def name(self) -> str:
        """As tables call it."""
        return " ".join((self.scheme, *(flag.removeprefix("--") for flag in self.flags)))

    @property
    def effort(self) -> float:
        """Time that it takes, in that of one whose layers learn."""
        searches = "target_bits" in self.options or "max_drop" in self.options
        return _SEARCHING if searches else _EFFORTS.get(self.scheme, 1.0)

    def with_cache(self, form: str) -> Rung:
        """The same with the cache in another form."""
        return Rung(
            self.scheme, {**self.options, "kv_cache": form}, (*self.flags, "--kv-cache", form)
        )


def _plain(scheme: str) -> Rung:
    return Rung(scheme, {})


def _mixed(bits: float) -> Rung:
    return Rung("w4", {"target_bits": bits}, ("--target-bits", f"{bits:g}"))


def ladder(subject: Subject) -> Generator[Rung, bool, None]:
    """The models to try; sent back is whether the last one kept to the budget.

    Args:
        subject: The model at hand.
    """
    if subject.language:
        best = yield from _weights()
        if subject.cached:
            yield from _caches(best or _plain("w8"), has_data=subject.has_data)
    else:
        yield from _others(subject)


def _weights() -> Generator[Rung, bool, Rung | None]:
    """Bits of weights: 4 first, 8 to be sure, then what lies below or between; the fewest good."""
    four, eight = _plain("w4"), _plain("w8")
    bears_four, bears_eight = (yield four), (yield eight)
    if bears_four:
        lower = _plain("w2")
        return lower if (yield lower) else four
    between = _mixed(6.0)
    if (yield between):
        return between
    if not bears_eight:
        yield _plain("dynamic")
    return eight if bears_eight else None


def _caches(base: Rung, *, has_data: bool) -> Generator[Rung, bool, None]:
    """Fused attention, then integers in the cache, as few bits as it bears."""
    fused = yield base.with_cache("float32")
    if fused and has_data and (yield base.with_cache("int8")):
        yield base.with_cache("int4")


def _others(subject: Subject) -> Generator[Rung, bool, None]:
    """int8 where there is data; what layers bear without ranges; halves of the size at least."""
    if subject.has_data and not (yield _plain("int8")):
        drop = subject.max_drop
        yield Rung("int8", {"max_drop": drop}, ("--max-drop", drop))
    yield _plain("dynamic")
    if (yield _plain("w8")):
        yield _plain("w4")
    yield _plain("fp16")


class Schedule:
    """Which rungs fit into the time that is left, by those that are behind.

    Args:
        limit: Seconds for all.
        clock: Tells the time in seconds.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + limit
        self._pace = 0.0

    @property
    def left(self) -> float:
        """Seconds; 0 where none are left."""
        return max(self._end - self._clock(), 0.0)

    def fits(self, rung: Rung, *, found: bool = True) -> bool:
        """Whether a rung is likely to be through in time.

        The first one begins in any case, and so do quick ones as long as nothing good is found.

        Args:
            rung: The next one.
            found: Whether a model kept to the budget.
        """
        return self._pace * rung.effort <= self.left or (not found and rung.effort < 1.0)

    @contextmanager
    def running(self, rung: Rung) -> Iterator[None]:
        """Around a rung: what it takes is what others are expected to."""
        start = self._clock()
        yield
        self._pace = max(self._pace, (self._clock() - start) / rung.effort)


@dataclass(frozen=True, slots=True)
class Climbed:
    """A model that was made and measured.

    Attributes:
        name: Unlike that of any other.
        command: What makes it; empty for the original.
        holds: Whether it keeps to the budget, and is close enough.
        score: The metric.
        drop: By how much that is worse than fp32's, in its unit.
        ratio: Time of a run, or of a token written, by fp32's; NaN where that was not measured.
        milliseconds: That time.
        size_bytes: Size as a file.
        cache_bytes: What the cache takes at the context that the guide is for; 0 without one.
        reason: Why it does not hold; empty where it does.
    """

    name: str
    command: str
    holds: bool
    score: float
    drop: float
    ratio: float
    milliseconds: float
    size_bytes: int
    cache_bytes: int
    reason: str = ""

    @property
    def memory_bytes(self) -> int:
        """Weights and cache."""
        return self.size_bytes + self.cache_bytes


def beaten_by(climbed: Sequence[Climbed]) -> dict[str, str]:
    """Name of a model -> that of one that is nowhere worse, and somewhere better."""
    found = dominators([Figures(c.drop, c.ratio, float(c.memory_bytes)) for c in climbed])
    return {
        each.name: climbed[place].name
        for each, place in zip(climbed, found, strict=True)
        if place is not None
    }


def recommended(climbed: Sequence[Climbed]) -> Climbed | None:
    """Of those that keep to the budget the one of the least time times memory.

    The first is the original; None where it is the best.
    """
    original, *made = climbed
    good = [each for each in made if each.holds]
    best = min(good, key=_cost, default=None)
    return best if best is not None and _cost(best) < _cost(original) else None


def _cost(each: Climbed) -> float:
    ratio = 1.0 if math.isnan(each.ratio) else each.ratio
    return ratio * each.memory_bytes
