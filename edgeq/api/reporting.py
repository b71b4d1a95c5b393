"""Runs and measures what quantization made, and writes it up."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeq.api.finishing import finished
from edgeq.api.measuring import (
    Measured,
    look_for_causes,
    measure_latency,
    slow_nodes,
)
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.graph import opset, saver
from edgeq.graph.interface import Interface
from edgeq.quantization.insert import insert
from edgeq.quantization.left_float import float_notes
from edgeq.quantization.plan import NodeForm
from edgeq.report.details import collect_details
from edgeq.report.document import ModelFacts, Report
from edgeq.report.search import BudgetRows
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.paired import compare
from edgeq.runtime.session import QUANTIZED, Session, SessionConfig
from edgeq.targets.releases import needed_on
from edgeq.validation.advice import warnings_about
from edgeq.validation.coverage import measure, promise
from edgeq.validation.diagnosis import diagnose
from edgeq.validation.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.api.evaluating import Evaluation
    from edgeq.api.options import Options
    from edgeq.calibration.collection import Collection
    from edgeq.graph.loader import LoadedModel
    from edgeq.passes.prepare import Prepared
    from edgeq.report.details import Details
    from edgeq.tuning.budget import BudgetSearch
    from edgeq.tuning.default import Search

FEW_SAMPLES = 8
"""Samples that layers are compared on and models are timed with."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Work:
    """What the stages that make the model have left.

    Attributes:
        loaded: The model as it was found.
        prepared: What was quantized.
        collection: What calibration saw.
        found: The candidate that was kept, and why.
        final: Its model, as it will be written.
        macs: Multiply-accumulates per compute node of the prepared model.
        calibrated_on: Where the samples came from.
        assumptions: What was assumed about them.
        evaluation: The metric and its data; None where none was asked for.
        budget: The search for a budget; None where none was asked for.
    """

    loaded: LoadedModel
    prepared: Prepared
    collection: Collection
    found: Search
    final: ir.Model
    macs: Mapping[str, int | None]
    calibrated_on: str
    assumptions: tuple[str, ...]
    evaluation: Evaluation | None
    budget: BudgetSearch | None


def spread(samples: Sequence[_Item], count: int) -> list[_Item]:
    """At most ``count`` of samples, or of their numbers, drawn from all of them, in order.

    Every second or third would show one side only of data that alternates, by branch or by size.
    """
    if len(samples) <= count:
        return list(samples)
    chosen = np.random.default_rng(0).choice(len(samples), count, replace=False)
    return [samples[index] for index in sorted(chosen.tolist())]


def write_report(work: Work, options: Options, stages: Stages) -> Report:
    """Run, measure and judge what came out.

    Args:
        work: What was made.
        options: What was asked for.
        stages: Keeps the time of each stage.
    """
    found = _measure(work, options, stages)
    plan = work.found.best.plan
    warnings = warnings_about(
        found.outputs,
        found.coverage,
        found.latency,
        found.diagnosis.layers,
        work.collection.samples,
        plan,
        found.times,
        saver.serialized_size(work.final) / max(work.loaded.size_bytes, 1),
    )
    return Report(
        verdict=judge(options.thresholds, found.outputs, found.latency, found.metric),
        model=ModelFacts(
            work.loaded.path,
            work.loaded.sha256,
            opset.default_opset(work.loaded.model),
            Interface.of(work.loaded.model),
        ),
        scheme=options.scheme,
        target=options.target.name,
        calibrator=_chosen(work, options),
        samples=work.collection.samples,
        fp32_bytes=work.loaded.size_bytes,
        candidate_bytes=saver.serialized_size(work.final),
        outputs=found.outputs,
        metric=found.metric,
        coverage=found.coverage,
        latency=found.latency,
        layers=found.diagnosis.layers,
        values=found.diagnosis.values,
        parting=found.diagnosis.parting,
        timings=stages.seconds,
        stages=stages.spent,
        peak_rss_mb=peak_rss_mb(),
        warnings=warnings,
        notes=tuple(filter(None, (*_notes(work), *_about(options), found.diagnosis.note))),
        environment=environment(),
        steps=work.found.steps,
        pairs=plan.pairs,
        budget=None if work.budget is None else _budget_rows(work.budget, options),
        needs=needed_on(work.final, options.target),
    )


def _budget_rows(budget: BudgetSearch, options: Options) -> BudgetRows:
    thresholds = options.thresholds
    return BudgetRows(
        max_drop=thresholds.max_drop or 0.0,
        relative=thresholds.relative_drop,
        met=budget.chosen.met,
        reason=budget.reason,
        trials=budget.trials,
    )


def details_of(work: Work) -> Details:
    """Ranges and histograms of the values that calibration saw, and the plan."""
    best, prepared = work.found.best, work.found.best.floats.model
    stored = {entry.value.name for entry in best.plan.activations}
    seen = best.floats.statistics
    shown = {n: s for n, s in seen.items() if n in stored or n in work.collection.statistics}
    return collect_details(prepared, best.ranges, shown, best.plan)


def _chosen(work: Work, options: Options) -> str:
    """The choice of the user, and what it resolved to."""
    names = work.found.best.choice.calibrators
    if len(names) == 1 and names[0] != options.recipe.calibrator.split(":", 1)[0]:
        return f"{options.recipe.calibrator} ({names[0]})"
    return options.recipe.calibrator


def _measure(work: Work, options: Options, stages: Stages) -> Measured:
    few, plan = spread(work.collection.kept, FEW_SAMPLES), work.found.best.plan
    threads, entries = options.threads, options.target.session_entries
    config = SessionConfig(threads, entries=entries)
    original = Session(work.loaded.model, SessionConfig(threads), what="the original")
    result = Session(work.final, config, what=QUANTIZED)
    metric = None
    with stages.stage("validate"):
        outputs = compare(original, result, work.collection.kept)
    if work.evaluation is not None:
        with stages.stage("evaluate"):
            metric = work.evaluation.score(result)
    if not options.validate:
        return Measured(outputs, metric=metric)
    with stages.stage("validate"):
        if options.target.executable_here:
            coverage = measure(work.macs, plan, executed_graph(work.final, config), work.final)
        else:
            coverage = promise(work.macs, plan, work.found.best.floats.model, options.target)
    with stages.stage("diagnose"):
        floats, other = work.found.best.floats.model, _comparable(work, options)
        diagnosis = look_for_causes(lambda: diagnose(floats, other, few, config))
    if not options.target.times_on(platform.machine()):
        return Measured(outputs, coverage, diagnosis, metric=metric)
    with stages.stage("latency"):
        latency = measure_latency(work.loaded.model, work.final, few, threads, entries)
        times = slow_nodes(work.final, few, latency, entries)
    return Measured(outputs, coverage, diagnosis, latency, times, metric)


def _comparable(work: Work, options: Options) -> ir.Model:
    """The result with the types of the float model: its layers can stand beside those of that."""
    best = work.found.best
    if NodeForm.HALF not in {decision.form for decision in best.plan.decisions}:
        return work.final
    return finished(insert(best.adjusted, best.plan), work.loaded.model, options.target)


def _about(options: Options) -> tuple[str, ...]:
    """What running the model here tells about its target."""
    target = options.target
    if not target.executable_here:
        return (
            f"Target {target.name} is another program: onnxruntime's CPU provider computed here "
            "what the Q/DQ pairs say; coverage is what the profile promises, times are not known",
        )
    if options.validate and not target.times_on(platform.machine()):
        return (f"Times are not known: target {target.name} does not run on {platform.machine()}",)
    return ()


def _notes(work: Work) -> tuple[str, ...]:
    """What was assumed and done on the way, in the order of the stages."""
    dynamic = sum(d.form is NodeForm.DYNAMIC for d in work.found.best.plan.decisions)
    notes = [
        *work.loaded.notes,
        f"Calibrated on {work.calibrated_on}",
        *work.assumptions,
        *work.prepared.notes,
        *work.found.notes,
        *work.found.best.floats.notes,
    ]
    if dynamic:
        notes.append(f"{dynamic} nodes quantize their input while running (dynamic)")
    notes += float_notes(work.found.best.plan.decisions)
    return tuple(dict.fromkeys(notes))
