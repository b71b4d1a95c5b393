"""The report document. Its JSON keys are a contract: other programs read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.report.sensitivity import layer_row, parting_row, value_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.graph.interface import Interface
    from edgeq.metrics import Fidelity
    from edgeq.quantization.pairs import PairNote
    from edgeq.report.blocks import BlockRow
    from edgeq.report.search import BudgetRows
    from edgeq.report.spent import Spent
    from edgeq.runtime.latency import LatencyComparison, Timing
    from edgeq.targets.releases import Need
    from edgeq.validation.coverage import Coverage
    from edgeq.validation.layers import LayerFidelity
    from edgeq.validation.parting import Parting
    from edgeq.validation.sensitivity import ValueFidelity
    from edgeq.validation.trials import StepTrial
    from edgeq.validation.verdict import Score, Verdict

SCHEMA = 1
"""Version of the JSON document; raised when a key changes its meaning."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that was given.

    Attributes:
        path: Its file; None for a model in memory.
        sha256: Hash of the file and its external data.
        opset: Opset version of the default domain.
        interface: Inputs and outputs.
    """

    path: Path | None
    sha256: str
    opset: int
    interface: Interface


@dataclass(frozen=True, slots=True)
class Report:
    """What was done, what came out, and how that was found.

    Attributes:
        verdict: Good or not, with the reasons.
        model: The model that was given.
        scheme: The quantization scheme.
        target: Name of the target profile.
        calibrator: The choice of the user, and what it resolved to.
        samples: Calibration samples read.
        fp32_bytes: Size of the original, external data included.
        candidate_bytes: Size of the result.
        outputs: Closeness per float output.
        metric: Task score, where evaluation data was given.
        coverage: What runs in integers; None where validation was switched off.
        latency: One comparison per thread count.
        layers: Closeness layer by layer, in the order of the graph.
        timings: Seconds per stage.
        peak_rss_mb: Largest resident size of the process, in MB (10^6 bytes).
        warnings: What the user should know, in sentences.
        notes: What was assumed or changed on the way, in sentences.
        environment: Versions and instruction sets.
        steps: The recovery steps that were tried, in order.
        budget: The search for a budget, where one was asked for.
        values: What rounding each value costs, alone.
        parting: The first layer where both models part, where there is one.
        pairs: Layers of which two products can saturate on some machines of the target.
        blocks: The matrices that are stored in blocks.
        stages: Where the time went, with what of it was running models.
        needs: The onnxruntime that runs the result, where the oldest that edgeq takes does not.
    """

    verdict: Verdict
    model: ModelFacts
    scheme: str
    target: str
    calibrator: str
    samples: int
    fp32_bytes: int
    candidate_bytes: int
    outputs: Mapping[str, Fidelity]
    metric: Score | None
    coverage: Coverage | None
    latency: tuple[LatencyComparison, ...]
    layers: tuple[LayerFidelity, ...]
    timings: Mapping[str, float]
    peak_rss_mb: float
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str]
    steps: tuple[StepTrial, ...] = ()
    budget: BudgetRows | None = None
    values: tuple[ValueFidelity, ...] = ()
    parting: Parting | None = None
    pairs: tuple[PairNote, ...] = ()
    blocks: tuple[BlockRow, ...] = ()
    stages: tuple[Spent, ...] = ()
    needs: Need | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data, ready for JSON."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.text,
            "failures": list(self.verdict.failures),
            "model": model_row(self.model),
            "scheme": self.scheme,
            "target": self.target,
            "calibrator": self.calibrator,
            "samples": self.samples,
            "size": {
                "fp32_bytes": self.fp32_bytes,
                "candidate_bytes": self.candidate_bytes,
                "ratio": round(self.candidate_bytes / max(self.fp32_bytes, 1), 4),
            },
            "accuracy": _accuracy(self.outputs, self.metric),
            "coverage": None if self.coverage is None else _coverage(self.coverage),
            "latency": [latency_row(comparison) for comparison in self.latency],
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
            "stages": [stage.to_dict() for stage in self.stages],
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "layers": [layer_row(layer) for layer in self.layers],
            "values": [value_row(value) for value in self.values],
            "parting": parting_row(self.parting),
            "steps": [step.to_dict() for step in self.steps],
            **({} if self.budget is None else {"budget": self.budget.to_dict()}),
            **({"blocks": [row.to_dict() for row in self.blocks]} if self.blocks else {}),
            "pair_sums": [
                {"name": n.node, "input": n.input, "worst": n.worst, "weights": n.form.value}
                for n in self.pairs
            ],
            "needs": None if self.needs is None else self.needs.to_dict(),
            "environment": dict(self.environment),
        }

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def model_row(facts: ModelFacts) -> dict[str, Any]:
    """The model that was given, as plain data."""

    def port(port: Any) -> dict[str, Any]:
        shape = None if port.shape is None else list(port.shape)
        return {"name": port.name, "dtype": str(port.dtype), "shape": shape}

    return {
        "path": None if facts.path is None else str(facts.path),
        "sha256": facts.sha256,
        "opset": facts.opset,
        "inputs": [port(each) for each in facts.interface.inputs],
        "outputs": [port(each) for each in facts.interface.outputs],
    }


def _accuracy(outputs: Mapping[str, Fidelity], metric: Score | None) -> dict[str, Any]:
    table = {}
    for name, closeness in outputs.items():
        row: dict[str, Any] = {
            "sqnr_db": round(closeness.sqnr_db, 3),
            "cosine": round(closeness.cosine, 6),
            "max_abs_error": closeness.max_abs_error,
        }
        if closeness.top1_agreement is not None:
            row["top1_agreement"] = round(closeness.top1_agreement, 6)
        table[name] = row
    document: dict[str, Any] = {"outputs": table}
    if metric is not None:
        document["metric"] = {
            "name": metric.name,
            "fp32": metric.fp32,
            "candidate": metric.candidate,
        }
    return document


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "macs": {
            "int8": coverage.int8,
            "int16": coverage.int16,
            "nbits": coverage.nbits,
            "fp16": coverage.half,
            "float": coverage.float_,
        },
        "total": coverage.total,
        "ratio": round(coverage.ratio, 4),
        "float_nodes": [
            {"name": n.name, "op_type": n.op_type, "macs": n.macs, "reason": n.reason}
            for n in coverage.float_nodes
        ],
        "leftover_qdq": coverage.leftover_qdq,
        "boundary_crossings": coverage.boundary_crossings,
        "promised": coverage.promised,
    }


def latency_row(comparison: LatencyComparison) -> dict[str, Any]:
    """One comparison as plain data."""

    def timing(timing: Timing) -> dict[str, float]:
        return {
            "median_ms": round(timing.median_ms, 4),
            "p25_ms": round(timing.p25_ms, 4),
            "p75_ms": round(timing.p75_ms, 4),
        }

    return {
        "threads": comparison.threads,
        "fp32": timing(comparison.fp32),
        "candidate": timing(comparison.candidate),
        "speedup": round(comparison.speedup, 4),
    }
