"""Holding a candidate against its reference on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.measuring import Measured, Recorded, input_specs, measure_latency, score, slow_nodes
from edgeq.api.results import ValidationResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.sources import open_source
from edgeq.errors import RecipeError
from edgeq.graph import loader, opset
from edgeq.graph.interface import Interface, require_comparable
from edgeq.metrics.relative import relative_metric
from edgeq.progress import Silent
from edgeq.report.document import ModelFacts, Report
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import count_macs, measure
from edgeq.validation.verdict import DEFAULT, Score, Thresholds, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir

    from edgeq.calibration.sources import SampleSource
    from edgeq.graph.loader import LoadedModel
    from edgeq.metrics import Fidelity
    from edgeq.progress import Progress
    from edgeq.types import Sample

_LATENCY_SAMPLES = 8


def validate(
    reference: object,
    candidate: object,
    data: object,
    *,
    thresholds: Thresholds | None = None,
    metric: str | None = None,
    max_samples: int | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> ValidationResult:
    """Run two models of one interface on the same samples and judge the second one.

    Args:
        reference: The model that is right by definition; anything :func:`edgeq.quantize` takes.
        candidate: The model that is judged.
        data: Samples, as for calibration; with labels where a metric is given.
        thresholds: What the candidate has to reach; 10 dB SQNR and a cosine of 0.95 when None.
        metric: Name or reference of a task metric.
        max_samples: Samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Returns:
        What was measured, and the verdict. The report's ``layers`` are empty: which layer of one
        model belongs to which of the other is known only while quantizing.

    Raises:
        EdgeqError: A model or the data cannot be used.
    """
    if thresholds is not None and thresholds.max_drop is not None and metric is None:
        raise RecipeError(
            "a largest drop needs a metric to drop",
            where="max_drop",
            remedy="Name one, and give labelled data",
        )
    listener = progress or Silent()
    stages = Stages(listener)
    with stages.stage("load"):
        left, right = loader.load(reference), loader.load(candidate)
        source = open_source(data, input_specs(left.model), max_samples=max_samples)
    require_comparable(Interface.of(left.model), Interface.of(right.model))
    kept = KeptSamples(limit=_LATENCY_SAMPLES)
    watched = _watched(source, kept, listener)
    found = _measure(_Pair(left.model, right.model, threads), source, watched, kept, metric, stages)
    return ValidationResult(
        Report(
            verdict=judge(thresholds or DEFAULT, found.outputs, found.latency, found.metric),
            model=_facts(left),
            scheme="given",
            target="cpu",
            calibrator="given",
            samples=kept.seen,
            fp32_bytes=left.size_bytes,
            candidate_bytes=right.size_bytes,
            outputs=found.outputs,
            metric=found.metric,
            coverage=found.coverage,
            latency=found.latency,
            layers=(),
            timings=stages.seconds,
            peak_rss_mb=peak_rss_mb(),
            warnings=warnings_about(
                found.outputs, found.coverage, found.latency, (), None, None, found.times
            ),
            notes=(f"Compared on {source.description}", *source.assumptions),
            environment=environment(),
        )
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two models, and the threads they run with."""

    reference: ir.Model
    candidate: ir.Model
    threads: int


def _measure(
    pair: _Pair,
    source: SampleSource,
    watched: Iterator[Sample],
    kept: KeptSamples,
    metric: str | None,
    stages: Stages,
) -> Measured:
    """Read the samples once for closeness and metric, then look at kernels and time."""
    config = SessionConfig(pair.threads)
    with stages.stage("validate"):
        original = Session(pair.reference, config, what="the reference")
        result = Session(pair.candidate, config, what="the candidate")
        left, right = (
            Recorded(session, keep=metric is not None and relative_metric(metric) is None)
            for session in (original, result)
        )
        outputs = compare(left, right, watched)
        scored = None if metric is None else _scored(metric, outputs, source, left, right)
        macs = count_macs(pair.candidate, kept[0])
        executed = executed_graph(pair.candidate, config)
        coverage = measure(macs, None, executed, pair.candidate)
    with stages.stage("latency"):
        latency = measure_latency(pair.reference, pair.candidate, kept[:], pair.threads, {})
        times = slow_nodes(pair.candidate, kept[:], latency, {})
    return Measured(outputs, coverage, (), latency, times, scored)


def _scored(
    metric: str,
    outputs: Mapping[str, Fidelity],
    source: SampleSource,
    reference: Recorded,
    candidate: Recorded,
) -> Score:
    relative = relative_metric(metric)
    if relative is not None:
        return Score(relative.name, 1.0, relative(outputs))
    return score(metric, source, reference, candidate)


def _watched(source: SampleSource, kept: KeptSamples, progress: Progress) -> Iterator[Sample]:
    """The samples as they pass, a few of them kept."""
    total = source.length_hint()
    for index, sample in enumerate(source):
        kept.offer(index, sample)
        yield sample
        progress.samples(index + 1, total)


def _facts(loaded: LoadedModel) -> ModelFacts:
    return ModelFacts(
        loaded.path, loaded.sha256, opset.default_opset(loaded.model), Interface.of(loaded.model)
    )
