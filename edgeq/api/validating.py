"""Holding a candidate against its reference on data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.api.measuring import (
    Measured,
    Recorded,
    input_specs,
    look_for_causes,
    measure_latency,
    slow_nodes,
    task_score,
)
from edgeq.api.on_device import run_candidate
from edgeq.api.results import ValidationResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.sources import open_source
from edgeq.calibration.sources.text import with_tokenizer
from edgeq.errors import RecipeError
from edgeq.graph import loader, opset
from edgeq.graph.interface import Interface, require_comparable, require_same_sizes
from edgeq.graph.walk import values
from edgeq.metrics.named import load_metric
from edgeq.metrics.relative import relative_metric
from edgeq.passes.prepare import prepare
from edgeq.progress import Silent
from edgeq.quantization.caches import stored_caches, with_float_caches
from edgeq.report.document import ModelFacts, Report
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets.releases import needed
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import count_macs, measure
from edgeq.validation.diagnosis import NOTHING_FOUND, diagnose_given
from edgeq.validation.verdict import DEFAULT, Score, Thresholds, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.api.on_device import OnDevice
    from edgeq.calibration.sources import SampleSource
    from edgeq.graph.loader import LoadedModel
    from edgeq.metrics import Fidelity
    from edgeq.progress import Progress
    from edgeq.quantization.cache_forms import StoredCache
    from edgeq.types import Sample
    from edgeq.validation.diagnosis import Diagnosis

_LATENCY_SAMPLES = 8
_OPSET = 13
"""Lowest version of the graph in which both models are compared: as for quantizing."""


def validate(
    reference: object,
    candidate: object,
    data: object,
    *,
    thresholds: Thresholds | None = None,
    metric: str | None = None,
    tokenizer: str | Path | None = None,
    window: int | None = None,
    max_samples: int | None = None,
    threads: int = 0,
    explain: bool = False,
    device: str | None = None,
    explain_difference: bool = False,
    progress: Progress | None = None,
) -> ValidationResult:
    """Run two models of one interface on the same samples and judge the second one.

    Args:
        reference: The model that is right by definition; anything :func:`edgeq.quantize` takes.
        candidate: The model that is judged. Caches that it takes in integers where the reference
            takes floats are converted.
        data: Samples, as for calibration; with labels where a metric is given.
        thresholds: What the candidate has to reach; 10 dB SQNR and a cosine of 0.95 when None.
        metric: Name or reference of a task metric.
        tokenizer: File that turns text into tokens, where the data is a text file; None for
            ``tokenizer.json`` beside the reference.
        window: Tokens of a sample of text.
        max_samples: Samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        explain: Whether to compare layer by layer and to look for what costs accuracy. Layers
            are matched by the names of their outputs, in the reference as edgeq prepares it or as
            it is, whichever fits better.
        device: Address of a device on which the candidate has to answer what it answers here, as
            closely as its operators allow; None for no device.
        explain_difference: Whether to look for the first node that differs there.
        progress: Listens to the run.

    Returns:
        What was measured, and the verdict. The report's ``layers`` are empty without ``explain``.

    Raises:
        EdgeqError: A model, the data or the device cannot be used.
    """
    if explain_difference and device is None:
        raise RecipeError(
            "a difference is that of a device",
            where="explain_difference",
            remedy="Name the device, such as qemu://arm64",
        )
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
        (data,) = with_tokenizer((data,), reference, tokenizer, window)
        source = open_source(data, input_specs(left.model), max_samples=max_samples)
    require_comparable(Interface.of(left.model), Interface.of(right.model))
    kept = KeptSamples(limit=_LATENCY_SAMPLES)
    watched = _watched(source, kept, listener)
    if device is not None:
        _require_same_caches(left.model, right.model)
    judged = fed_alike(left.model, right.model)
    require_same_sizes(Interface.of(left.model), Interface.of(judged))
    pair = _Pair(left.model, judged, threads, explain=explain)
    found = _measure(pair, source, watched, kept, metric, stages)
    verdict = judge(thresholds or DEFAULT, found.outputs, found.latency, found.metric)
    there = None
    if device is not None:
        with stages.stage("device"):
            there = run_candidate(device, right, kept[:], threads, explain=explain_difference)
        verdict = Verdict((*verdict.failures, *there.failures))
    notes = (f"Compared on {source.description}", *source.assumptions, found.diagnosis.note)
    report = _report(left, right, kept.seen, found, verdict, (*notes, *_told(there)), stages)
    return ValidationResult(report, there)


def fed_alike(reference: ir.Model, candidate: ir.Model) -> ir.Model:
    """The candidate, with float caches at its interface where the reference has such."""
    stored = _other_caches(reference, candidate)
    return with_float_caches(candidate, stored) if stored else candidate


def _other_caches(reference: ir.Model, candidate: ir.Model) -> list[StoredCache]:
    floats = {port.name for port in Interface.of(reference).inputs if port.dtype == "FLOAT"}
    return [cache for cache in stored_caches(candidate) if cache.past in floats]


def _require_same_caches(reference: ir.Model, candidate: ir.Model) -> None:
    """A device gets the file as it is.

    Raises:
        RecipeError: The samples of the reference do not fit it.
    """
    if _other_caches(reference, candidate):
        raise RecipeError(
            "the samples of the reference hold float caches, and the candidate takes integers",
            where="--device",
            remedy="Pack the candidate with samples of its own: edgeq pack CANDIDATE --data DATA",
        )


def _told(there: OnDevice | None) -> Iterator[str]:
    """What a run on a device adds to the notes."""
    if there is None:
        return
    result = there.result
    runtime = " ".join(result.runtime.values())
    judged = "as here" if result.passed else "not as here"
    yield f"Ran on {result.device} with {runtime}: {judged}"
    yield from result.notes
    if there.searched and there.difference is None:
        yield "Every value is right there once it is looked at: the difference is one of fusions"


def _report(
    reference: LoadedModel,
    candidate: LoadedModel,
    samples: int,
    found: Measured,
    verdict: Verdict,
    notes: Sequence[str],
    stages: Stages,
) -> Report:
    """What was measured, as the report says it."""
    diagnosis = found.diagnosis
    return Report(
        verdict=verdict,
        model=_facts(reference),
        scheme="given",
        target="cpu",
        calibrator="given",
        samples=samples,
        fp32_bytes=reference.size_bytes,
        candidate_bytes=candidate.size_bytes,
        outputs=found.outputs,
        metric=found.metric,
        coverage=found.coverage,
        latency=found.latency,
        layers=diagnosis.layers,
        values=diagnosis.values,
        parting=diagnosis.parting,
        timings=stages.seconds,
        peak_rss_mb=peak_rss_mb(),
        warnings=warnings_about(
            found.outputs, found.coverage, found.latency, diagnosis.layers, None, None, found.times
        ),
        notes=tuple(filter(None, notes)),
        environment=environment(),
        needs=needed(candidate.model),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two models, the threads they run with, and whether to look into them."""

    reference: ir.Model
    candidate: ir.Model
    threads: int
    explain: bool


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
        absolute = metric is not None and relative_metric(metric) is None
        task = load_metric(metric) if absolute and metric is not None else None
        left, right = (Recorded(session, task, source) for session in (original, result))
        outputs = compare(left, right, watched)
        scored = None if metric is None else _scored(metric, outputs, source, left, right)
        macs = count_macs(pair.candidate, kept[0])
        executed = executed_graph(pair.candidate, config)
        coverage = measure(macs, None, executed, pair.candidate)
    diagnosis = NOTHING_FOUND
    if pair.explain:
        with stages.stage("diagnose"):
            diagnosis = look_for_causes(lambda: _diagnosed(pair, kept[:], config))
    with stages.stage("latency"):
        latency = measure_latency(pair.reference, pair.candidate, kept[:], pair.threads, {})
        times = slow_nodes(pair.candidate, kept[:], latency, {})
    return Measured(outputs, coverage, diagnosis, latency, times, scored)


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
    chosen = load_metric(metric)
    scores = [task_score(chosen, source, each.answers) for each in (reference, candidate)]
    return Score(metric, scores[0], scores[1], chosen.higher_is_better)


def _diagnosed(pair: _Pair, samples: Sequence[Sample], config: SessionConfig) -> Diagnosis:
    """Compare layers with the reference as edgeq prepares it, or as it is: what names fit better.

    Raises:
        EdgeqError: They cannot be put into one graph.
    """
    both = (pair.reference, pair.candidate)
    version = min(max(_OPSET, *map(opset.default_opset, both)), opset.NEWEST)
    reference, candidate = (opset.upgrade(model, version) for model in both)
    if opset.default_opset(reference) != opset.default_opset(candidate):
        return replace(NOTHING_FOUND, note="Layers were not compared: the opsets are too different")
    known = values(candidate).keys()
    best = max(
        (prepare(reference, samples).model, reference),
        key=lambda model: len(values(model).keys() & known),
    )
    return diagnose_given(best, candidate, samples, config)


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
