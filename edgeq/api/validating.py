"""Holding a candidate against its reference on data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.api.measuring import Recorded, input_specs, measure_latency, score, slow_nodes
from edgeq.api.results import ValidationResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.sources import open_source
from edgeq.errors import RecipeError
from edgeq.graph import loader, opset
from edgeq.graph.interface import Interface, require_comparable
from edgeq.progress import Silent
from edgeq.report.document import ModelFacts, Report
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import count_macs, measure
from edgeq.validation.verdict import DEFAULT, Thresholds, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.calibration.sources import SampleSource
    from edgeq.graph.loader import LoadedModel
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
    stages = Stages(progress or Silent())
    listener = progress or Silent()
    with stages.stage("load"):
        left, right = loader.load(reference), loader.load(candidate)
        source = open_source(data, input_specs(left.model), max_samples=max_samples)
    require_comparable(Interface.of(left.model), Interface.of(right.model))
    config = SessionConfig(threads)
    original = Session(left.model, config, what="the reference")
    result = Session(right.model, config, what="the candidate")
    kept = KeptSamples(limit=_LATENCY_SAMPLES)
    with stages.stage("validate"):
        left_runs = Recorded(original, keep=metric is not None)
        right_runs = Recorded(result, keep=metric is not None)
        outputs = compare(left_runs, right_runs, _watched(source, kept, listener))
        scored = None if metric is None else score(metric, source, left_runs, right_runs)
        macs = count_macs(right.model, kept[0])
        coverage = measure(macs, None, executed_graph(right.model, config), right.model)
    with stages.stage("latency"):
        latency = measure_latency(left.model, right.model, kept[:], threads, {})
        times = slow_nodes(right.model, kept[:], latency, {})
    verdict = judge(thresholds or DEFAULT, outputs, latency, scored)
    return ValidationResult(
        Report(
            verdict=verdict,
            model=_facts(left),
            scheme="given",
            target="cpu",
            calibrator="given",
            samples=kept.seen,
            fp32_bytes=left.size_bytes,
            candidate_bytes=right.size_bytes,
            outputs=outputs,
            metric=scored,
            coverage=coverage,
            latency=latency,
            layers=(),
            timings=stages.seconds,
            peak_rss_mb=peak_rss_mb(),
            warnings=warnings_about(outputs, coverage, latency, (), None, None, times),
            notes=(f"Compared on {source.description}", *source.assumptions),
            environment=environment(),
        )
    )


def _watched(source: SampleSource, kept: KeptSamples, progress: Progress) -> Iterator[Sample]:
    """The samples as they pass, a few of them kept."""
    total = source.length_hint()
    for done, sample in enumerate(source, start=1):
        kept.offer(sample)
        yield sample
        progress.samples(done, total)


def _facts(loaded: LoadedModel) -> ModelFacts:
    return ModelFacts(
        loaded.path, loaded.sha256, opset.default_opset(loaded.model), Interface.of(loaded.model)
    )
