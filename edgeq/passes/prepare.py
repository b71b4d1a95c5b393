"""Runs a pipeline on a copy of a model, and proves that it still computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.passes.lift_half import lift_half
from edgeq.passes.lift_islands import lift_islands
from edgeq.passes.pipelines import (
    PREPARE,
    PassFailed,
    PassReport,
    names,
    run_pipeline,
    steps,
)
from edgeq.passes.proof import TOLERANCE, Proof, Reference
from edgeq.passes.random_inputs import random_samples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import onnx_ir as ir

    from edgeq.passes.pipelines import Pipeline
    from edgeq.types import Sample

HALF_TOLERANCE = 2e-2
"""What the original itself is off by when every step rounds to half precision."""


@dataclass(frozen=True, slots=True)
class DroppedPass:
    """A pass that crashed, or behind which the model computed something else.

    Attributes:
        name: The pass.
        reason: What went wrong.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"Pass {self.name} was left out: {self.reason}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model that passes have run on.

    Attributes:
        model: The prepared copy.
        reports: What each pass did.
        proof: What running it against the original showed.
        dropped: Passes that were left out, because the proof failed with them.
        told: What else the user should hear.
        reference: What the original answered.
    """

    model: ir.Model
    reports: tuple[PassReport, ...]
    proof: Proof
    dropped: tuple[DroppedPass, ...]
    told: tuple[str, ...]
    reference: Reference

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything the user should hear."""
        return (*map(str, self.dropped), *self.told)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What both models ran on."""
        return self.reference.samples


def prepare(
    model: ir.Model,
    samples: Iterable[Sample] = (),
    *,
    pipeline: Pipeline = PREPARE,
    skip: Collection[str] = (),
    tolerance: float = TOLERANCE,
) -> Prepared:
    """Run passes on a copy of a model; a pass that changes what it computes is left out.

    Args:
        model: Left as it is.
        samples: What the model is fed; the first few are used, beside random inputs.
        pipeline: The passes.
        skip: Names of passes to leave out.
        tolerance: Largest difference allowed in a float output, relative to its largest magnitude.
    """
    reference = Reference(model, samples, random_samples(model))
    told: tuple[str, ...] = ()
    if not reference.samples:
        told = (f"Prepared without proof: the model did not run ({reference.problem})",)
    left_out, dropped = set(skip), list[DroppedPass]()
    for _ in range(len(names(pipeline)) + 1):
        copy = model.clone()
        try:
            reports = run_pipeline(copy, pipeline, skip=left_out)
            allowed = _allowed(reports, tolerance)
            proof = reference.prove(copy, allowed)
            if proof.failure is None:
                told += tuple(note for report in reports for note in report.notes)
                return Prepared(copy, reports, proof, tuple(dropped), told, reference)
            guilty = _guilty(model, pipeline, left_out, reference, allowed)
            why = proof.failure
        except PassFailed as error:
            guilty, why = error.name, error.what
        left_out.add(guilty)
        dropped.append(DroppedPass(guilty, why))
    told += ("No pass could be used: the model goes on as it was",)
    unchanged = model.clone()
    return Prepared(unchanged, (), reference.prove(unchanged), tuple(dropped), told, reference)


def _allowed(reports: Iterable[PassReport], tolerance: float) -> float:
    """The tolerance; a wider one where the original rounds every step to half precision."""
    halves = (lift_half.__name__, lift_islands.__name__)
    lifted = any(r.name in halves and r.changes for r in reports)
    return max(tolerance, HALF_TOLERANCE) if lifted else tolerance


def _guilty(
    model: ir.Model,
    pipeline: Pipeline,
    skip: Collection[str],
    reference: Reference,
    tolerance: float,
) -> str:
    """The pass whose run turns a right model into a wrong one, by bisection over the runs."""
    order = [report.name for report in steps(model.clone(), pipeline, skip)]
    right, wrong = 0, len(order)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        copy = model.clone()
        run_pipeline(copy, pipeline, skip=skip, limit=middle)
        if reference.prove(copy, tolerance).failure is None:
            right = middle
        else:
            wrong = middle
    return order[wrong - 1]
