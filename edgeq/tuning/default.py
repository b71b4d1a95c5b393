"""The default search: a few whole candidates, measured on kept samples, the closest one wins.

Expected errors of single values say little about the output of a deep network, so the last word
belongs to a measurement: the policy ``auto`` (per value, by expected error) stands against each
calibrator alone; bias correction stays only where it helps; and where the result is still far from
the original, the layers that cost most accuracy for their arithmetic are left float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.refinement.bias_correction import is_correctable
from edgeq.tuning.candidate import Candidate, Choice
from edgeq.tuning.fallback import leave_float
from edgeq.validation.advice import FAR_OFF_DB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.tuning.candidate import Workshop

COMFORT_DB = FAR_OFF_DB
"""Worst-output SQNR from which no layer is given up."""

NOTICEABLE_DB = 0.3
"""Differences below this are noise of the few samples that candidates are measured on."""

_FINALISTS = 3


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
    best = workshop.build(Choice(tuple(calibrators)))
    if len(calibrators) > 1 and best.ranges:
        alone = [workshop.build(Choice((name,))) for name in calibrators]
        best = _closest(workshop, [best, *alone])
        who = "value by value" if len(best.choice.calibrators) > 1 else best.choice.calibrators[0]
        notes.append(f"Ranges were chosen {who}: {best.typical_db:.1f} dB was the closest measured")
    best = _corrected(workshop, best, notes)
    if workshop.confirm(best).sqnr_db < COMFORT_DB:
        found = leave_float(workshop, best, macs, COMFORT_DB)
        if found.best is not best:
            notes.append(found.note)
            best = _corrected(workshop, found.best, notes)
    return Search(best, tuple(notes))


def _corrected(workshop: Workshop, candidate: Candidate, notes: list[str]) -> Candidate:
    """The candidate with bias correction, if that is noticeably closer."""
    if candidate.choice.corrected or not is_correctable(candidate.plan):
        return candidate
    corrected = workshop.build(replace(candidate.choice, corrected=True))
    if corrected.typical_db <= candidate.typical_db + NOTICEABLE_DB:
        return candidate
    gain = f"{candidate.typical_db:.1f} -> {corrected.typical_db:.1f} dB"
    notes.append(f"Bias correction was kept: {gain}")
    return corrected


def _closest(workshop: Workshop, candidates: Sequence[Candidate]) -> Candidate:
    """The closest of the finalists when all samples are counted; the first of equals."""
    ranked = sorted(candidates, key=lambda candidate: -candidate.typical_db)[:_FINALISTS]
    finalists = [workshop.confirm(c) for c in candidates if c in ranked]
    top = max(candidate.typical_db for candidate in finalists)
    return next(c for c in finalists if c.typical_db >= top - NOTICEABLE_DB)
