"""Candidates with ever more layers in float: some of the ladder that a budget climbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.tuning.fallback import lightly_coupled, moves_of, rungs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.moves import Standing
    from edgeq.tuning.workshop import Workshop

_REASON = "int8 costs accuracy here: left float for the frontier"


class Ladder:
    """Builds candidates with layers of one left float, the best bargains first.

    Args:
        workshop: Builds and measures.
        start: What is begun with.
        prices: What leaving each node float costs, as a share of the whole.
    """

    def __init__(self, workshop: Workshop, start: Candidate, prices: Mapping[str, float]) -> None:
        self._workshop = workshop
        self._start = lightly_coupled(workshop, start)
        moves = moves_of(workshop, self._start, prices)
        self._rungs = rungs_of(workshop, self._start, moves)

    def candidates(self, count: int) -> Iterator[Candidate]:
        """So many of them at most, from few layers in float to many."""
        for rung in spread_rungs(self._rungs, count):
            choice = self._start.choice.with_excluded(rung.excluded, _REASON)
            yield self._workshop.build(choice, like=self._start)


def spread_rungs(rungs: Sequence[Standing], count: int) -> list[Standing]:
    """So many rungs at most, as evenly as there are in the decibels that they gain."""
    if count <= 0 or not rungs:
        return []
    gains = [rung.gain_db for rung in rungs]
    wanted = [gains[-1] * (step + 1) / count for step in range(count)]
    near = [min(range(len(rungs)), key=lambda i: abs(gains[i] - each)) for each in wanted]
    return [rungs[place] for place in sorted(set(near))]
