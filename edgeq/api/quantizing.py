"""From a float model and samples to an int8 model that has been run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs
from edgeq.api.options import resolve_options
from edgeq.api.reporting import Work, spread, write_report
from edgeq.api.results import QuantizationResult
from edgeq.api.stages import Stages
from edgeq.calibration.collector import SampleStream, collect, require_enough
from edgeq.calibration.sources import open_source
from edgeq.graph import check, loader, opset
from edgeq.graph.interface import Interface, require_same
from edgeq.graph.walk import node_name, nodes
from edgeq.passes.pipelines import FINALIZE, run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.progress import Silent
from edgeq.quantization.annotate import annotate
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.quantization.refusal import refuse_quantized, refuse_unreachable
from edgeq.runtime.session import Session, SessionConfig
from edgeq.tuning.candidate import Workshop
from edgeq.tuning.default import search
from edgeq.validation.coverage import count_macs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.api.options import Options
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe

_PROOF_SAMPLES = 4
_MEASURED_SAMPLES = 32
_MEASURED_MACS = 5 * 10**10


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
    options = resolve_options(
        scheme, target, calibrator, recipe, exclude, threads, seed, validate, max_drop,
        evaluation_data, metric,
    )  # fmt: skip
    stages = Stages(progress or Silent())
    work = _quantized(model, calibration_data, options, max_samples, stages, progress or Silent())
    report = write_report(work, options, stages)
    return QuantizationResult(work.final, work.found.best.plan, report)


def _quantized(
    model: object,
    data: object,
    options: Options,
    max_samples: int | None,
    stages: Stages,
    progress: Progress,
) -> Work:
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
        _require_meant(options.recipe, loaded.model, prepared.model)
        annotations = annotate(prepared.model, options.target, options.recipe)
        refuse_unreachable(prepared.model, annotations.decisions, options.target)
        if annotations.observed():
            require_enough(first)
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
        macs = count_macs(prepared.model, collection.kept[0])
        samples = spread(collection.kept, _measured_samples(macs))
        workshop = Workshop(
            prepared.model, loaded.model, options.target, options.recipe,
            collection, calibrators, samples, threads=options.threads,
        )  # fmt: skip
        found = search(workshop, tuple(calibrators), macs)
        final = _finished(found.best.model, loaded.model)
    return Work(loaded, prepared, collection, found, final, macs, source)


def _measured_samples(macs: Mapping[str, int | None]) -> int:
    """How many samples to measure every candidate on: fewer of a model that takes long.

    Arithmetic is counted rather than time, so that the result does not depend on the machine.
    """
    once = sum(count or 0 for count in macs.values())
    return max(_PROOF_SAMPLES, min(_MEASURED_SAMPLES, _MEASURED_MACS // max(once, 1)))


def _require_meant(recipe: Recipe, *models: ir.Model) -> None:
    """Refuse patterns that match nothing, neither in the model as given nor as prepared."""
    recipe.require_matches(
        (node_name(node), node.op_type) for model in models for node in nodes(model)
    )


def _finished(model: ir.Model, original: ir.Model) -> ir.Model:
    """Clean up behind insertion, and prove that the file will be valid and fit its callers."""
    final = model.clone()
    run_pipeline(final, FINALIZE)
    require_same(Interface.of(original), Interface.of(final), stage="quantization")
    check.check(final)
    return final
