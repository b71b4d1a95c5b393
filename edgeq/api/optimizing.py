"""From a float model as it was found to one that computes the same with less."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs, measure_latency
from edgeq.api.results import OptimizationResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.calibration.collector import SampleStream
from edgeq.calibration.sources import open_source
from edgeq.errors import RecipeError, nearest
from edgeq.graph import check, loader, opset, saver
from edgeq.graph.fix_inputs import fix_inputs, settle_outputs
from edgeq.graph.interface import Interface, require_same
from edgeq.graph.walk import computing
from edgeq.passes.pipelines import FINALIZE, for_target, names, run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.progress import Silent
from edgeq.quantization.narrow_weights import store_as_given
from edgeq.report.document import ModelFacts
from edgeq.report.optimization import Extent, OptimizationReport
from edgeq.runtime.session import Session
from edgeq.targets import target_named
from edgeq.targets.releases import needed_on
from edgeq.validation.coverage import count_macs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.graph.loader import LoadedModel
    from edgeq.passes.pipelines import Pipeline
    from edgeq.passes.prepare import Prepared
    from edgeq.progress import Progress
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample

_SAMPLES = 4
_SLOWER = 0.95
"""Speed-up under which a result is called slower, if its faster quarter is slower as well."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What the stages that make the model have left.

    Attributes:
        loaded: The model as it was found.
        original: The same with the shapes that were asked for.
        prepared: What the passes made, and what they did.
        final: Its model, as it will be written.
        samples: What both models ran on.
        notes: What was assumed about the samples.
    """

    loaded: LoadedModel
    original: ir.Model
    prepared: Prepared
    final: ir.Model
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]


def optimize(
    model: object,
    calibration_data: object = None,
    *,
    target: str | None = None,
    fix_shapes: Mapping[str, Sequence[int]] | None = None,
    passes: Sequence[str] | None = None,
    skip_passes: Sequence[str] = (),
    threads: int = 0,
    validate: bool = True,
    progress: Progress | None = None,
) -> OptimizationResult:
    """Fold, cancel and remove what a model need not compute; the result is run against it.

    Args:
        model: A path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or the ``ONNXProgram``
            of ``torch.onnx.export``. Never changed.
        calibration_data: Samples to run both models on beside random inputs, as for
            :func:`edgeq.quantize`; only the first few are read. Where the model does not run on
            random inputs, nothing else can prove the result.
        target: Name of the target profile. Without one, only operators of the ONNX standard
            appear; with one, also those that its runtime adds.
        fix_shapes: Name of an input -> its sizes, or name of a symbolic dimension -> ``(size,)``.
        passes: Names of the only passes to run; all of the pipeline when None.
        skip_passes: Names of passes to leave out.
        threads: Threads of onnxruntime; 0 lets it choose.
        validate: Whether to measure multiply-accumulates and latency.
        progress: Listens to the run.

    Returns:
        The model with a report. Inputs and outputs are those of the original in name, order, type
        and, unless ``fix_shapes`` says otherwise, shape.

    Raises:
        ModelError: The model cannot be read.
        DataError: The samples cannot be read.
        RecipeError: There is no such target, pass, input or dimension.
    """
    profile = None if target is None else target_named(target)
    pipeline = for_target(profile)
    skip = _left_out(pipeline, passes, skip_passes)
    stages = Stages(progress or Silent())
    with stages.stage("load"):
        loaded = loader.load(model)
        original = loaded.model if not fix_shapes else fix_inputs(loaded.model, fix_shapes)
        samples, notes = _samples(original, calibration_data)
    with stages.stage("optimize"):
        prepared = prepare(original, samples, pipeline=pipeline, skip=skip)
        final = _finished(prepared.model, original, profile, resized=bool(fix_shapes))
        if prepared.reference.loads:
            Session(final, what="the optimized model")
    ran = prepared.samples
    work = _Work(loaded, original, prepared, final, ran, notes)
    report = _report(work, profile, threads, validate, stages)
    return OptimizationResult(final, report)


def _left_out(
    pipeline: Pipeline, passes: Sequence[str] | None, skip: Sequence[str]
) -> frozenset[str]:
    """Names of the passes that are not to run."""
    known = names(pipeline)
    for where, given in (("passes", passes or ()), ("skip_passes", skip)):
        for name in given:
            if name not in known:
                what = f"unknown pass {name!r}"
                raise RecipeError(what, where=where, remedy=nearest(name, known))
    unwanted = () if passes is None else (name for name in known if name not in passes)
    return frozenset([*skip, *unwanted])


def _samples(model: ir.Model, data: object) -> tuple[Sequence[Sample], tuple[str, ...]]:
    """The first few samples, and what was assumed while reading them."""
    if data is None:
        return (), ()
    source = open_source(data, input_specs(model), max_samples=_SAMPLES)
    first = SampleStream(source).peek(_SAMPLES)
    return first, (f"Compared on {source.description}", *source.assumptions)


def _finished(
    model: ir.Model, original: ir.Model, target: TargetProfile | None, *, resized: bool
) -> ir.Model:
    """Clean up, and prove that the file will be valid and fit its callers."""
    final = model.clone()
    if target is not None and target.contrib_operators:
        store_as_given(final, original)
    run_pipeline(final, FINALIZE)
    require_same(Interface.of(original), Interface.of(final), stage="optimization")
    if resized:
        settle_outputs(final)
    check.check(final)
    return final


def _report(
    work: _Work, target: TargetProfile | None, threads: int, validate: bool, stages: Stages
) -> OptimizationReport:
    macs: tuple[int | None, int | None] = (None, None)
    latency: tuple[LatencyComparison, ...] = ()
    if validate and work.samples:
        with stages.stage("validate"):
            macs = _macs(work.original, work.samples[0]), _macs(work.final, work.samples[0])
        with stages.stage("latency"):
            latency = measure_latency(work.original, work.final, work.samples, threads, {})
    loaded = work.loaded
    return OptimizationReport(
        model=ModelFacts(
            loaded.path, loaded.sha256, opset.default_opset(loaded.model),
            Interface.of(loaded.model),
        ),
        target=None if target is None else target.name,
        before=_extent(work.original, loaded.size_bytes, macs[0]),
        after=_extent(work.final, saver.serialized_size(work.final), macs[1]),
        passes=work.prepared.reports,
        dropped=work.prepared.dropped,
        proof=work.prepared.proof,
        latency=latency,
        timings=stages.seconds,
        peak_rss_mb=peak_rss_mb(),
        warnings=tuple(_warnings(work.prepared, latency)),
        notes=(*loaded.notes, *work.notes, *work.prepared.told),
        environment=environment(),
        needs=needed_on(work.final, target),
    )  # fmt: skip


def _macs(model: ir.Model, sample: Sample) -> int | None:
    """Multiply-accumulates of one run; None where not every shape can be known."""
    counts = count_macs(model, sample).values()
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _extent(model: ir.Model, size: int, macs: int | None) -> Extent:
    found = computing(model)
    return Extent(len(found), Counter(node.op_type for node in found), macs, size)


def _warnings(prepared: Prepared, latency: Sequence[LatencyComparison]) -> list[str]:
    found = [f"Pass {each.name} was left out: {each.reason}" for each in prepared.dropped]
    if not prepared.proof.holds:
        found.append(
            "UNPROVEN: the result was not compared with the original, which did not run on random "
            f"inputs: {prepared.reference.problem}. If it runs here at all, give samples that it "
            "takes with --calib DATA"
        )
    slow = [
        each
        for each in latency
        if each.speedup < _SLOWER and each.candidate.p25_ms > each.fp32.median_ms
    ]
    found += [
        f"With {each.threads or 'all'} threads the result takes {1 / each.speedup:.2f} times as "
        "long as the original as onnxruntime loads it; find the pass with --skip-pass, and please "
        "report the model"
        for each in slow
    ]
    return found
