"""The default search: a few whole candidates, measured on kept samples, the closest one wins.

Expected errors of single values say little about the output of a deep network, so the last word
belongs to a measurement: the policy ``auto`` (per value, by expected error) stands against each
calibrator alone; bias correction stays only where it helps; and where the result is still far from
the original, the layers that cost most accuracy for their arithmetic are left float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.tuning.candidate import Candidate, Choice
from edgeq.tuning.fallback import leave_float

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.tuning.candidate import Workshop

COMFORT_DB = 20.0
"""Worst-output SQNR from which no layer is given up: errors are a tenth of the signal."""

NOTICEABLE_DB = 0.3
"""Differences below this are noise of the few samples that candidates are measured on."""


@dataclass(frozen=True, slots=True)
class Search:
    """What the search found.

    Attributes:
        best: The closest candidate.
        notes: What was tried and why the best was kept, in sentences.
    """

    best: Candidate
    notes: tuple[str, ...]


def search(
    workshop: Workshop, calibrators: Sequence[str], macs: Mapping[str, int | None]
) -> Search:
    """Find the closest candidate.

    Args:
        workshop: Builds and measures.
        calibrators: Names of the calibrators to choose from; with one there is no choice.
        macs: Multiply-accumulates per compute node.
    """
    notes: list[str] = []
    best = _closest([workshop.build(choice) for choice in _choices(calibrators)])
    if len(calibrators) > 1:
        who = "value by value" if len(best.choice.calibrators) > 1 else best.choice.calibrators[0]
        notes.append(f"Ranges were chosen {who}: {best.sqnr_db:.1f} dB was the closest measured")
    corrected = workshop.build(replace(best.choice, corrected=True))
    if corrected.sqnr_db > best.sqnr_db + NOTICEABLE_DB:
        notes.append(
            f"Bias correction was kept: {best.sqnr_db:.1f} -> {corrected.sqnr_db:.1f} dB"
        )
        best = corrected
    if best.sqnr_db < COMFORT_DB:
        found = leave_float(workshop, best, macs, COMFORT_DB)
        if found.best is not best:
            notes.append(found.note)
        best = found.best
    return Search(best, tuple(notes))


def _choices(calibrators: Sequence[str]) -> Iterator[Choice]:
    if len(calibrators) > 1:
        yield Choice(tuple(calibrators))
    for name in calibrators:
        yield Choice((name,))


def _closest(candidates: Sequence[Candidate]) -> Candidate:
    """The first of those that are not noticeably worse than the best."""
    top = max(candidate.sqnr_db for candidate in candidates)
    return next(c for c in candidates if c.sqnr_db >= top - NOTICEABLE_DB)
