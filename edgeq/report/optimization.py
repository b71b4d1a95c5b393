"""The report of ``edgeq optimize``. Its JSON keys are a contract, as those of the other one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.report.document import SCHEMA, latency_row, model_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.passes.pipelines import PassReport
    from edgeq.passes.prepare import DroppedPass
    from edgeq.passes.proof import Proof
    from edgeq.report.document import ModelFacts
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.targets.releases import Need


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of everything a model has.

    Attributes:
        nodes: Nodes, bodies included. Constant nodes do not count: they are stored, not computed.
        operators: The same by operator.
        macs: Multiply-accumulates of one run; None where not measured.
        size_bytes: Size of the file, external data included.
    """

    nodes: int
    operators: Mapping[str, int]
    macs: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OptimizationReport:
    """What was done to a model, and what that gained.

    Attributes:
        model: The model that was given.
        target: Name of the target profile; None for operators of the ONNX standard only.
        before: The model that was given, with the shapes that were asked for.
        after: The result.
        passes: What each pass did, in the order in which they began.
        dropped: Passes that were left out because the model computed something else with them.
        proof: How far the result is from the original.
        latency: One comparison per thread count, both models as onnxruntime loads them; empty
            where not measured.
        timings: Seconds per stage.
        peak_rss_mb: Largest resident size of the process, in MB (10^6 bytes).
        warnings: What the user should know, in sentences.
        notes: What was assumed or changed on the way, in sentences.
        environment: Versions and instruction sets.
        needs: As in the other report.
    """

    model: ModelFacts
    target: str | None
    before: Extent
    after: Extent
    passes: tuple[PassReport, ...]
    dropped: tuple[DroppedPass, ...]
    proof: Proof
    latency: tuple[LatencyComparison, ...]
    timings: Mapping[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str]
    needs: Need | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data, ready for JSON."""
        before, after = self.before, self.after
        return {
            "schema": SCHEMA,
            "verdict": "good" if self.proof.holds else "unproven",
            "model": model_row(self.model),
            "target": self.target,
            "nodes": {"before": before.nodes, "after": after.nodes},
            "operators": {"before": dict(before.operators), "after": dict(after.operators)},
            "macs": {"before": before.macs, "after": after.macs},
            "size": {
                "before_bytes": before.size_bytes,
                "after_bytes": after.size_bytes,
                "ratio": round(after.size_bytes / max(before.size_bytes, 1), 4),
            },
            "proof": {
                "samples": self.proof.samples,
                "max_relative_error": self.proof.error,
                "tolerance": self.proof.tolerance,
            },
            "passes": [_pass_row(each) for each in self.passes],
            "dropped": [{"name": each.name, "reason": each.reason} for each in self.dropped],
            "latency": [latency_row(comparison) for comparison in self.latency],
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "needs": None if self.needs is None else self.needs.to_dict(),
            "environment": dict(self.environment),
        }

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def _pass_row(report: PassReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "changes": report.changes,
        "nodes_before": report.nodes_before,
        "nodes_after": report.nodes_after,
        "seconds": round(report.seconds, 3),
        "declined": list(report.declined),
    }
