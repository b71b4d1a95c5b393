"""From a float model and samples to an int8 model that has been run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs, measure_latency, open_evaluation, score
from edgeq.api.results import QuantizationResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.calibration.collector import SampleStream, collect
from edgeq.calibration.sources import open_source
from edgeq.errors import RecipeError, nearest
from edgeq.graph import check, loader, opset, saver
from edgeq.graph.interface import Interface, require_same
from edgeq.passes.pipelines import FINALIZE, run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.progress import Silent
from edgeq.quantization.annotate import annotate
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.quantization.refusal import refuse_quantized, refuse_unreachable
from edgeq.recipe import Recipe, load_recipe
from edgeq.report.document import ModelFacts, Report
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets import target_named
from edgeq.tuning.candidate import Workshop
from edgeq.tuning.default import search
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import count_macs, measure
from edgeq.validation.layers import compare_layers
from edgeq.validation.verdict import DEFAULT, Thresholds, judge, parse_drop

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.calibration.collector import Collection
    from edgeq.calibration.sources import SampleSource
    from edgeq.graph.loader import LoadedModel
    from edgeq.passes.prepare import Prepared
    from edgeq.progress import Progress
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.targets import TargetProfile
    from edgeq.tuning.default import Search
    from edgeq.types import Sample
    from edgeq.validation.coverage import Coverage
    from edgeq.validation.layers import LayerFidelity
    from edgeq.validation.verdict import Score

SCHEMES = ("int8",)
"""The schemes that work today."""

_PROOF_SAMPLES = 4
_MEASURED_SAMPLES = 16
_FEW_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class _Options:
    """The arguments of :func:`quantize`, resolved."""

    target: TargetProfile
    recipe: Recipe
    threads: int
    seed: int
    validate: bool
    thresholds: Thresholds
    evaluation: object
    metric: str | None


@dataclass(frozen=True, slots=True)
class _Work:
    """What the stages have made so far."""

    loaded: LoadedModel
    prepared: Prepared
    collection: Collection
    found: Search
    final: ir.Model
    macs: dict[str, int | None]
    source: SampleSource


def quantize(
    model: object,
    calibration_data: object,
    *,
    scheme: str = "int8",
    target: str = "cpu",
    calibrator: str | None = None,
    recipe: Recipe | str | Path | None = None,
    exclude: Sequence[str] = (),
    max_samples: int | None = None,
    threads: int = 0,
    seed: int = 0,
    evaluation_data: object = None,
    metric: str | None = None,
    max_drop: str | float | None = None,
    validate: bool = True,
    progress: Progress | None = None,
) -> QuantizationResult:
    """Quantize a model to int8, run the result, and say how close and how fast it is.

    Args:
        model: A path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or the ``ONNXProgram``
            of ``torch.onnx.export``. Never changed.
        calibration_data: A path or reference as on the command line, any iterable of dicts of
            arrays, or an object with ``get_next()``. Read once.
        scheme: ``int8``: weights and activations in 8 bits, ranges found by calibration.
        target: Name of the target profile.
        calibrator: ``NAME[:key=value,...]`` or ``auto``; overrides the recipe's.
        recipe: Choices that go beyond these arguments, or the file that holds them.
        exclude: Patterns of node names and op types that stay float, beside the recipe's.
        max_samples: Calibration samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        seed: Seed of the sample of the data that validation keeps.
        evaluation_data: Labelled samples for ``metric``, as ``calibration_data``.
        metric: Name or reference of a task metric.
        max_drop: Largest loss of the metric: ``"0.5%"`` relative to fp32, or in its own unit.
        validate: Whether to measure coverage, layers and latency and to hold the result against
            thresholds. It is run on samples in any case.
        progress: Listens to the run.

    Returns:
        The model with its plan and report. Look at ``passed`` before using it.

    Raises:
        EdgeqError: See :mod:`edgeq.errors`; the message says what to do.
    """
    options = _options(
        scheme, target, calibrator, recipe, exclude, threads, seed, validate, max_drop,
        evaluation_data, metric,
    )  # fmt: skip
    stages = Stages(progress or Silent())
    work = _quantized(model, calibration_data, options, max_samples, stages, progress or Silent())
    report = _report(work, options, stages)
    return QuantizationResult(work.final, work.found.best.plan, report)


def _options(
    scheme: str, target: str, calibrator: str | None, recipe: Recipe | str | Path | None,
    exclude: Sequence[str], threads: int, seed: int, validate: bool,
    max_drop: str | float | None, evaluation: object, metric: str | None,
) -> _Options:  # fmt: skip
    if scheme not in SCHEMES:
        raise RecipeError(
            f"unknown scheme {scheme!r}", where="scheme", remedy=nearest(scheme, SCHEMES)
        )
    if (evaluation is None) != (metric is None) or (max_drop is not None and metric is None):
        raise RecipeError(
            "evaluation data, a metric and a largest drop belong together",
            remedy="Give --eval DATA and --metric METRIC, and --max-drop only with them",
        )
    chosen = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe or Recipe()
    chosen = chosen.with_changes(calibrator=calibrator, exclude=(*chosen.exclude, *exclude))
    thresholds = DEFAULT if validate else Thresholds()
    if max_drop is not None:
        drop, relative = parse_drop(str(max_drop))
        thresholds = Thresholds(
            thresholds.min_sqnr, thresholds.min_cosine, max_drop=drop, relative_drop=relative
        )
    return _Options(
        target_named(target), chosen, threads, seed, validate, thresholds, evaluation, metric
    )


def _quantized(
    model: object,
    data: object,
    options: _Options,
    max_samples: int | None,
    stages: Stages,
    progress: Progress,
) -> _Work:
    """Load, prepare, calibrate, quantize: the stages that make the model."""
    calibrators = calibrators_for(options.recipe.calibrator)
    with stages.stage("load"):
        loaded = loader.load(model)
        refuse_quantized(loaded.model)
        source = open_source(data, input_specs(loaded.model), max_samples=max_samples)
        stream = SampleStream(source)
        first = stream.peek(_PROOF_SAMPLES)
    with stages.stage("prepare"):
        Session(loaded.model, SessionConfig(options.threads)).run(first[0])
        raised = opset.upgrade(loaded.model, options.target.minimum_opset)
        prepared = prepare(raised, first, skip=options.recipe.skip_passes)
        annotations = annotate(prepared.model, options.target, options.recipe)
        refuse_unreachable(prepared.model, annotations.decisions, options.target)
    with stages.stage("calibrate"):
        collection = collect(
            prepared.model,
            [ref.name for ref in annotations.observed()],
            stream,
            required_kinds(calibrators),
            threads=options.threads,
            seed=options.seed,
            total=source.length_hint(),
            progress=progress.samples,
        )
    with stages.stage("quantize"):
        samples = _spread(collection.kept, _MEASURED_SAMPLES)
        macs = count_macs(prepared.model, samples[0])
        workshop = Workshop(
            prepared.model, loaded.model, options.target, options.recipe,
            collection.statistics, calibrators, samples, threads=options.threads,
        )  # fmt: skip
        found = search(workshop, tuple(calibrators), macs)
        final = _finished(found.best.model, loaded.model)
    return _Work(loaded, prepared, collection, found, final, macs, source)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most ``count`` of the samples, evenly spread."""
    step = max(1, -(-len(samples) // count))
    return list(samples[::step])


def _finished(model: ir.Model, original: ir.Model) -> ir.Model:
    """Clean up behind insertion, and prove that the file will be valid and fit its callers."""
    final = model.clone()
    run_pipeline(final, FINALIZE)
    require_same(Interface.of(original), Interface.of(final), stage="quantization")
    check.check(final)
    return final


def _report(work: _Work, options: _Options, stages: Stages) -> Report:
    """Run, measure and judge what came out."""
    kept, plan = work.collection.kept, work.found.best.plan
    config = SessionConfig(options.threads, entries=options.target.session_entries)
    coverage: Coverage | None = None
    layers: tuple[LayerFidelity, ...] = ()
    latency: tuple[LatencyComparison, ...] = ()
    metric: Score | None = None
    with stages.stage("validate"):
        original = Session(work.loaded.model, SessionConfig(options.threads), what="the original")
        result = Session(work.final, config, what="the quantized model")
        outputs = compare(original, result, kept)
        if options.validate:
            executed = executed_graph(work.final, config)
            coverage = measure(work.macs, plan, executed, work.final)
            few = _spread(kept, _FEW_SAMPLES)
            layers = compare_layers(work.prepared.model, work.final, plan, few)
    if options.validate:
        with stages.stage("latency"):
            latency = measure_latency(
                work.loaded.model, work.final, _spread(kept, _FEW_SAMPLES), options.threads,
                options.target.session_entries,
            )  # fmt: skip
    if options.metric is not None:
        with stages.stage("evaluate"):
            metric = _score(options, work, original, result)
    verdict = judge(options.thresholds, outputs, latency, metric)
    return Report(
        verdict=verdict,
        model=ModelFacts(
            work.loaded.path,
            work.loaded.sha256,
            opset.default_opset(work.loaded.model),
            Interface.of(work.loaded.model),
        ),
        scheme="int8",
        target=options.target.name,
        calibrator=options.recipe.calibrator,
        samples=work.collection.samples,
        fp32_bytes=work.loaded.size_bytes,
        candidate_bytes=saver.serialized_size(work.final),
        outputs=outputs,
        metric=metric,
        coverage=coverage,
        latency=latency,
        layers=layers,
        timings=stages.seconds,
        peak_rss_mb=peak_rss_mb(),
        warnings=warnings_about(outputs, coverage, latency, layers, work.collection.samples, plan),
        notes=_notes(work),
        environment=environment(),
    )


def _score(options: _Options, work: _Work, original: Session, result: Session) -> Score:
    source = open_evaluation(options.evaluation, work.loaded.model)
    return score(options.metric or "", source, original, result)


def _notes(work: _Work) -> tuple[str, ...]:
    """What was assumed and done on the way, in the order of the stages."""
    dynamic = sum(d.form is NodeForm.DYNAMIC for d in work.found.best.plan.decisions)
    notes = [
        *work.loaded.notes,
        f"Calibrated on {work.source.description}",
        *work.source.assumptions,
        *work.prepared.notes,
        *work.found.notes,
    ]
    if dynamic:
        notes.append(f"{dynamic} nodes quantize their input while running (dynamic)")
    return tuple(dict.fromkeys(notes))
