"""Schemes that need no ranges: weights in blocks, dynamic and half precision.

They share everything with static quantization but the step between: the model is loaded, prepared
and proven alike, and what comes out is run, measured and judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.api import caching
from edgeq.api.conversions import CONVERSIONS, MINIMUM_OPSETS, Ground, with_half_floats
from edgeq.api.evaluating import open_evaluation
from edgeq.api.finishing import finished
from edgeq.api.grounding import PROOF_SAMPLES, load, measured_samples, require_meant
from edgeq.api.measuring import (
    Measured,
    compared,
    input_specs,
    measure_latency,
    recorded,
    slow_nodes,
)
from edgeq.api.reporting import FEW_SAMPLES, spread
from edgeq.api.results import QuantizationResult
from edgeq.api.stages import environment, peak_rss_mb
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.sources import open_source
from edgeq.errors import DataError, UnsupportedError
from edgeq.graph import check, opset, saver
from edgeq.graph.interface import Interface
from edgeq.passes.pipelines import (
    FINALIZE,
    PREPARE,
    PREPARE_FOR_ONNXRUNTIME,
    run_pipeline,
)
from edgeq.passes.prepare import prepare
from edgeq.quantization.caches import with_float_caches
from edgeq.quantization.plan import NodeForm, QuantPlan
from edgeq.quantization.refusal import other_scheme
from edgeq.report.document import ModelFacts, Report
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.session import QUANTIZED, Session, SessionConfig
from edgeq.targets.releases import needed_on
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import count_macs, measure
from edgeq.validation.verdict import Thresholds, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.api.conversions import Converted
    from edgeq.api.evaluating import Evaluation
    from edgeq.api.options import Options
    from edgeq.api.stages import Stages
    from edgeq.graph.loader import LoadedModel
    from edgeq.passes.prepare import Prepared
    from edgeq.progress import Progress
    from edgeq.types import FloatArray, Sample

_RANDOM_ONLY = (
    "There were no samples: that the model loads, runs and gives finite numbers is proven on "
    "random inputs, how close it is to fp32 on real ones is not. Give --calib DATA, or --eval DATA"
)


@dataclass(frozen=True, slots=True)
class _Samples:
    """What the model is run on.

    Attributes:
        kept: A few dozen of the samples; random inputs where there are none.
        seen: How many there were; 0 for random inputs.
        notes: Where they came from.
    """

    kept: Sequence[Sample]
    seen: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the stages that make the model have left.

    Attributes:
        compared_on: The samples that both models are run on.
        answers: What the original answers to them.
        comparable: The result with the interface of the original: only its caches may differ.
    """

    loaded: LoadedModel
    prepared: Prepared
    samples: _Samples
    compared_on: Sequence[Sample]
    answers: KeptSamples
    macs: Mapping[str, int | None]
    made: Converted
    final: ir.Model
    comparable: ir.Model


def convert(
    model: object,
    data: object,
    options: Options,
    stages: Stages,
    progress: Progress,
    *,
    max_samples: int | None = None,
) -> QuantizationResult:
    """Bring a model into a scheme that needs no ranges.

    Args:
        model: Anything :func:`edgeq.quantize` takes.
        data: Samples to learn from and to compare on; None for none.
        options: What is asked for.
        stages: Keeps the time of each stage.
        progress: Listens to the run.
        max_samples: Samples to read at most.

    Raises:
        EdgeqError: The model or the data cannot be used, or the scheme reaches nothing of it.
    """
    with stages.stage("load"):
        loaded = load(model)
        evaluation = open_evaluation(loaded.model, options)
        given = None if data is None else _given(loaded.model, data, options, max_samples)
    with stages.stage("prepare"):
        prepared, samples = _prepared(loaded, given, options)
    with stages.stage("validate"):
        macs = count_macs(prepared.model, samples.kept[0])
        compared_on = spread(samples.kept, measured_samples(macs))
        # Now, while there is no second model in memory yet.
        answers = recorded(loaded.model, SessionConfig(options.threads), compared_on)
    with stages.stage("quantize"):
        ready, told = _with_fused_caches(prepared.model, samples, options)
        scales = _cache_scales(ready, samples, options)
        ground = Ground(
            ready,
            options,
            samples.kept if samples.seen else (),
            samples.kept,
            progress.samples,
        )
        made = CONVERSIONS[options.scheme](ground)
        if options.kv_cache is None:
            _require_reached(made, options)
        made = with_half_floats(made, options)
        made = replace(made, notes=(*made.notes, *told))
        final = comparable = finished(made.model, loaded.model, options.target)
        if scales:
            made, final, comparable = _with_stored_caches(made, final, scales, options)
    work = _Work(loaded, prepared, samples, compared_on, answers, macs, made, final, comparable)
    report = _report(work, options, evaluation, stages)
    return QuantizationResult(final, QuantPlan(decisions=made.decisions), report, options.recipe)


def _with_fused_caches(
    model: ir.Model, samples: _Samples, options: Options
) -> tuple[ir.Model, tuple[str, ...]]:
    if options.kv_cache is None:
        return model.clone(), ()
    return caching.fused(model, samples.kept)


def _cache_scales(
    model: ir.Model, samples: _Samples, options: Options
) -> dict[str, FloatArray] | None:
    """Scales of the caches of a float model, where they shall be integers."""
    if options.kv_cache in (None, caching.FLOAT):
        return None
    return caching.cache_scales(model, samples.kept, options.kv_cache, threads=options.threads)


def _with_stored_caches(
    made: Converted, final: ir.Model, scales: dict[str, FloatArray], options: Options
) -> tuple[Converted, ir.Model, ir.Model]:
    """What was done, the result with caches in integers, and as what it can be compared."""
    final = final.clone()
    stored, told = caching.stored(final, scales, options.kv_cache or "")
    run_pipeline(final, FINALIZE)
    check.check(final)
    comparable = with_float_caches(final, stored)
    run_pipeline(comparable, FINALIZE)
    return replace(made, notes=(*made.notes, *told)), final, comparable


def _given(model: ir.Model, data: object, options: Options, max_samples: int | None) -> _Samples:
    source = open_source(data, input_specs(model), max_samples=max_samples)
    kept = KeptSamples(seed=options.recipe.seed or 0)
    for index, sample in enumerate(source):
        kept.offer(index, sample)
    if not len(kept):
        raise DataError("there are no samples", remedy="Give at least one; 32 to 512 are usual")
    notes = (f"Compared and learned on {source.description}", *source.assumptions)
    return _Samples(kept, kept.seen, notes)


def _prepared(
    loaded: LoadedModel, given: _Samples | None, options: Options
) -> tuple[Prepared, _Samples]:
    """The prepared model, and what it and the original have run on."""
    first = [] if given is None else list(given.kept[:PROOF_SAMPLES])
    minimum = max(MINIMUM_OPSETS.get(options.scheme, 0), options.minimum_opset)
    raised = opset.upgrade(loaded.model, minimum) if minimum else loaded.model
    pipeline = PREPARE if options.is_standard else PREPARE_FOR_ONNXRUNTIME
    prepared = prepare(raised, first, pipeline=pipeline, skip=options.recipe.skip_passes)
    told = require_meant(options.recipe, loaded.model, prepared.model)
    if given is not None:
        return prepared, replace(given, notes=(*given.notes, *told))
    if not prepared.samples:
        raise DataError(
            "no random input suits the model, so that nothing could be proven",
            remedy="Give --calib DATA: a few samples that it runs on",
        )
    return prepared, _Samples(prepared.samples, 0, told)


def _require_reached(made: Converted, options: Options) -> None:
    """Refuse to hand over a model of which nothing was converted."""
    if any(decision.form is not NodeForm.FLOAT for decision in made.decisions):
        return
    reasons = dict.fromkeys(d.reason for d in made.decisions if d.reason)
    raise UnsupportedError(
        f"scheme {options.scheme} reaches nothing of this model"
        + (f" ({'; '.join(list(reasons)[:2])})" if reasons else ""),
        remedy=other_scheme(made.model, options.scheme),
    )


def _report(work: _Work, options: Options, evaluation: Evaluation | None, stages: Stages) -> Report:
    found = _measure(work, options, evaluation, stages)
    loaded, made = work.loaded, work.made
    size = saver.serialized_size(work.final)
    plan = QuantPlan(decisions=made.decisions)
    warnings = warnings_about(
        found.outputs, found.coverage, found.latency, (), None, plan, found.times,
        size / max(loaded.size_bytes, 1),
    )  # fmt: skip
    plain = () if work.samples.seen else (_RANDOM_ONLY,)
    return Report(
        verdict=judge(_thresholds(work, options), found.outputs, found.latency, found.metric),
        model=ModelFacts(
            loaded.path,
            loaded.sha256,
            opset.default_opset(loaded.model),
            Interface.of(loaded.model),
        ),
        scheme=options.scheme,
        target=options.target.name,
        calibrator=made.method,
        samples=work.samples.seen,
        fp32_bytes=loaded.size_bytes,
        candidate_bytes=size,
        outputs=found.outputs,
        metric=found.metric,
        coverage=found.coverage,
        latency=found.latency,
        layers=(),
        timings=stages.seconds,
        peak_rss_mb=peak_rss_mb(),
        warnings=(*plain, *warnings),
        notes=(*loaded.notes, *work.samples.notes, *work.prepared.notes, *made.notes),
        environment=environment(),
        blocks=made.rows,
        needs=needed_on(work.final, options.target),
    )


def _thresholds(work: _Work, options: Options) -> Thresholds:
    """Closeness is not asked for where the inputs are random: it would say nothing either way."""
    asked = options.thresholds
    if work.samples.seen:
        return asked
    return Thresholds(max_drop=asked.max_drop, relative_drop=asked.relative_drop)


def _measure(
    work: _Work, options: Options, evaluation: Evaluation | None, stages: Stages
) -> Measured:
    threads, entries = options.threads, options.target.session_entries
    config = SessionConfig(threads, entries=entries)
    metric = None
    with stages.stage("validate"):
        result = Session(work.comparable, config, what=QUANTIZED)
        outputs = compared(work.answers, result, work.compared_on)
    if evaluation is not None:
        with stages.stage("evaluate"):
            metric = evaluation.score(result)
    del result
    if not options.validate:
        return Measured(outputs, metric=metric)
    few = spread(work.compared_on, FEW_SAMPLES)
    with stages.stage("validate"):
        plan = QuantPlan(decisions=work.made.decisions)
        coverage = measure(work.macs, plan, executed_graph(work.final, config), work.final)
    with stages.stage("latency"):
        latency = measure_latency(work.loaded.model, work.comparable, few, threads, entries)
        times = slow_nodes(work.comparable, few, latency, entries)
    return Measured(outputs, coverage, latency=latency, times=times, metric=metric)
