"""How much memory activations take at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.estimation.work import Work


@dataclass(frozen=True, slots=True)
class Peak:
    """The step at which most bytes are needed.

    Attributes:
        size: All bytes that are needed then.
        step: Name of the node; empty where there is none.
        alive: The buffers that are needed then, largest first, and their bytes.
    """

    size: int
    step: str
    alive: tuple[tuple[str, int], ...]


def peak(work: Work) -> Peak:
    """The largest sum of the buffers that are needed at once, in the order of the steps.

    A buffer is needed from the step that writes it to the last one that reads it; inputs from the
    beginning, outputs to the end. What a step reads and what it writes are needed together. An
    allocator that leaves gaps needs more; none needs less in this order, unless a kernel writes
    over what it reads.
    """
    first = dict.fromkeys(work.inputs, 0)
    last = dict.fromkeys(work.inputs, 0)
    for place, step in enumerate(work.steps):
        _meet((*step.reads, *step.writes), place, first, last)
    _meet(work.outputs, max(len(work.steps) - 1, 0), first, last)
    changes = [0] * (len(work.steps) + 2)
    for name, begin in first.items():
        changes[begin] += work.sizes[name]
        changes[last[name] + 1] -= work.sizes[name]
    needed, worst, most = 0, 0, -1
    for place, change in enumerate(changes[: max(len(work.steps), 1)]):
        needed += change
        if needed > most:
            worst, most = place, needed
    alive = [(n, work.sizes[n]) for n in first if first[n] <= worst <= last[n]]
    alive.sort(key=lambda each: (-each[1], each[0]))
    name = work.steps[worst].name if work.steps else ""
    return Peak(max(most, 0), name, tuple(alive))


def _meet(names: Iterable[str], place: int, first: dict[str, int], last: dict[str, int]) -> None:
    for name in names:
        first.setdefault(name, place)
        last[name] = place
