"""From a float model and samples to an int8 model that has been run."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.api.block_options import BlockChoice
from edgeq.api.calibrated import calibrated_from_data, calibrated_from_table
from edgeq.api.converting import convert
from edgeq.api.evaluating import open_evaluation
from edgeq.api.finishing import finished
from edgeq.api.grounding import PROOF_SAMPLES, load, measured_samples
from edgeq.api.measuring import time_shares
from edgeq.api.options import resolve_options
from edgeq.api.reporting import Work, details_of, spread, write_report
from edgeq.api.results import QuantizationResult
from edgeq.api.stages import Stages
from edgeq.calibration.sources.text import with_tokenizer
from edgeq.errors import RecipeError
from edgeq.progress import Silent
from edgeq.quantization.ranges import calibrators_for
from edgeq.recipe import CONVERTED_SCHEMES, DATA_FREE_SCHEMES
from edgeq.tuning.budget import Limits, keep_budget
from edgeq.tuning.candidate import settled
from edgeq.tuning.costs_file import require_same_model
from edgeq.tuning.default import closer, learn_again, search
from edgeq.tuning.given import hasten_by
from edgeq.tuning.speed import hasten
from edgeq.tuning.workshop import Workshop
from edgeq.validation.coverage import count_macs, shares
from edgeq.validation.verdict import judge

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.api.calibrated import Calibrated
    from edgeq.api.evaluating import Evaluation
    from edgeq.api.options import Options
    from edgeq.calibration.table import CalibrationTable
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe
    from edgeq.tuning.budget import BudgetSearch
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.speed import Hastened
    from edgeq.types import Sample
    from edgeq.validation.verdict import Score


def quantize(
    model: object,
    calibration_data: object = None,
    *,
    calibration_table: CalibrationTable | str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
    scheme: str = "int8",
    block_size: int | None = None,
    symmetric: bool = False,
    method: str | None = None,
    weight_format: str = "operator",
    layer_bits: Mapping[str, int] | None = None,
    target_bits: float | None = None,
    kv_cache: str | None = None,
    target: str = "cpu",
    calibrator: str | None = None,
    recipe: Recipe | str | Path | None = None,
    exclude: Sequence[str] = (),
    float_type: str | None = None,
    max_samples: int | None = None,
    threads: int = 0,
    seed: int | None = None,
    evaluation_data: object = None,
    metric: str | None = None,
    max_drop: str | float | None = None,
    max_trials: int | None = None,
    time_limit: float | None = None,
    skip_steps: Sequence[str] = (),
    validate: bool = True,
    latency_tuning: bool = True,
    costs: Sequence[str | Path] = (),
    tokenizer: str | Path | None = None,
    window: int | None = None,
    progress: Progress | None = None,
) -> QuantizationResult:
    """Quantize a model, run the result, and say how close and how fast it is.

    Args:
        model: A path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or the ``ONNXProgram``
            of ``torch.onnx.export``. Never changed.
        calibration_data: A path or reference as on the command line, any iterable of dicts of
            arrays, or an object with ``get_next()``. Read once.
        calibration_table: In place of the data: what :func:`edgeq.calibrate` made of it, for the
            same model, target, exclusions and passes.
        allow_partial: Whether the table may lack samples.
        scheme: ``int8``: weights and activations in 8 bits, ranges found by calibration.
            ``a16w8``: the same with activations of 16 bits, for targets that take them. ``w8``,
            ``w4`` and ``w2``: weights of so many bits in blocks, activations float; data is not
            needed.
        block_size: Weights that share a scale, a power of two from 16. For weights in blocks, as
            the next five.
        symmetric: Whether blocks have no zero points: smaller, and coarser.
        method: How integers are found: ``rtn``, ``hqq``, ``k-quant``, ``gptq`` and ``awq`` (with
            data), or ``auto``, the one of the least error for each matrix. None: ``gptq`` for
            ``w4`` and ``w2`` with data, else ``k-quant``.
        weight_format: ``operator``: onnxruntime's MatMulNBits and GatherBlockQuantized. ``qdq``:
            DequantizeLinear of the ONNX standard.
        layer_bits: Other bits for the weights of some nodes, by pattern of their names.
        target_bits: Bits a weight on average, scales included: beside the bits of the scheme
            wider ones are used, for the matrices whose rounding harms the outputs most.
        kv_cache: For a language model whose cache is inputs and outputs: ``float32`` fuses the
            attention over it, ``int8`` and ``int4`` store it in integers, too, so that those inputs
            and outputs change their type; with data, and the schemes ``w8``, ``w4``, ``w2`` and
            ``dynamic``.
        target: Name of the target profile.
        calibrator: ``NAME[:key=value,...]`` or ``auto``; overrides the recipe's.
        recipe: Choices that go beyond these arguments, or the file that holds them.
        exclude: Patterns of node names and op types that stay float, beside the recipe's.
        float_type: ``fp16`` brings what is left float beside integers into float16: computed in it
            where the target does that, else its weights stored in it. What float16 cannot hold
            stays float32. Overrides the recipe's; ``fp32`` leaves all as it is.
        max_samples: Calibration samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        seed: Seed of the sample of the data that is kept, which steps learn from and candidates are
            measured on; overrides the recipe's, 0 by default. A table has its own.
        evaluation_data: Samples for ``metric``, as ``calibration_data`` and not among them. Read
            several times where a budget is searched for; what cannot be is held in memory.
        metric: Name or reference of a task metric, which needs labels; or ``agreement``,
            ``cosine`` or ``signal``, which compare with fp32. None for the one of these that suits.
        max_drop: A budget, the largest loss of the metric: ``"0.5%"`` relative to fp32, or in its
            own unit. The fewest layers are left float with which it holds.
        max_trials: Runs over the evaluation data at most in search of them; 16 by default.
        time_limit: Seconds after which no further trial begins.
        skip_steps: Names of recovery steps not to try, beside the recipe's.
        validate: Whether to measure coverage, layers and latency and to hold the result against
            thresholds. It is run on samples in any case.
        latency_tuning: Whether to let measured times decide which operators between integer layers
            run in integers, and which layers stay float; where the target is this machine.
        costs: Files of times that decide in place of measuring, for a target that is another
            machine, too: what ``edgeq tune --save-costs`` wrote, or profiles of ``edgeq run`` of
            the float model and of the int8 model made of it without latency tuning.
        tokenizer: File that turns text into tokens, where data is a text file; None for
            ``tokenizer.json`` beside the model.
        window: Tokens of a sample of text.
        progress: Listens to the run.

    Returns:
        The model with its plan and report. Look at ``passed`` before using it.

    Raises:
        EdgeqError: See :mod:`edgeq.errors`; the message says what to do.
    """
    calibration_data, evaluation_data = with_tokenizer(
        (calibration_data, evaluation_data), model, tokenizer, window
    )
    options = resolve_options(
        scheme, target, calibrator, recipe, exclude, threads, seed, validate, max_drop,
        evaluation_data, metric, max_trials, time_limit, skip_steps,
        BlockChoice(block_size, symmetric, method, weight_format, layer_bits or {}, target_bits),
        has_data=calibration_data is not None, latency_tuning=latency_tuning,
        costs=costs, kv_cache=kv_cache, float_type=float_type,
    )  # fmt: skip
    listener = progress or Silent()
    stages = Stages(listener)
    if options.scheme in CONVERTED_SCHEMES:
        _require_no_table(calibration_table, scheme)
        if calibration_data is None and scheme not in DATA_FREE_SCHEMES:
            raise RecipeError(
                f"scheme {scheme} has to see how large inputs get",
                where="calibration_data",
                remedy="Give samples, 16 or more",
            )
        return convert(model, calibration_data, options, stages, listener, max_samples=max_samples)
    _require_one_source(calibration_data, calibration_table, max_samples)
    with stages.stage("load"):
        loaded = load(model)
        require_fitting_costs(options, loaded.sha256)
        evaluation = open_evaluation(loaded.model, options)
    if calibration_table is None:
        calibrated = calibrated_from_data(
            loaded, calibration_data, options.target, options.recipe, stages, listener,
            max_samples=max_samples, threads=options.threads,
        )  # fmt: skip
    else:
        calibrated = calibrated_from_table(
            loaded, calibration_table, options.target, options.recipe, stages,
            allow_partial=allow_partial, threads=options.threads,
        )  # fmt: skip
    work = _quantized(calibrated, options, evaluation, stages, listener)
    report = write_report(work, options, stages)
    best = work.found.best
    recipe = settled(options.recipe, best.choice, calibrated.collection.kept.seed)
    return QuantizationResult(work.final, best.plan, report, recipe, details_of(work))


def _require_no_table(table: object, scheme: str) -> None:
    if table is not None:
        raise RecipeError(
            f"scheme {scheme} needs no ranges, and a calibration table holds nothing else",
            where="calibration_table",
            remedy="Leave it out; samples may be given as calibration data",
        )


def _require_one_source(data: object, table: object, max_samples: int | None) -> None:
    if (data is None) == (table is None):
        raise RecipeError(
            "calibration data and a calibration table stand for each other"
            if data is not None
            else "there is neither calibration data nor a calibration table",
            remedy="Give one of the two",
        )
    if table is not None and max_samples is not None:
        raise RecipeError(
            "a calibration table holds the samples that it holds",
            where="max_samples",
            remedy="Limit the samples when the table is made",
        )


def _quantized(
    calibrated: Calibrated,
    options: Options,
    evaluation: Evaluation | None,
    stages: Stages,
    progress: Progress,
) -> Work:
    """Quantize what was calibrated."""
    ground, collection = calibrated.ground, calibrated.collection
    with stages.stage("quantize"):
        workshop, macs = open_workshop(calibrated, options)
        found = search(
            workshop,
            tuple(calibrators_for(options.recipe.calibrator)),
            shares(macs),
            falls_back=not options.has_budget,
            part=stages.part,
        )
    if tunes_latency(options):
        with stages.stage("tune"):
            hastened = hastened_as_asked(workshop, found.best, shares(macs), options)
            found = replace(found, best=hastened.best, notes=(*found.notes, *hastened.notes))
    with stages.stage("quantize"), stages.part("learning once more"):
        learned = learn_again(workshop, found.best)
    found = replace(found, best=learned.best, notes=(*found.notes, *learned.notes))
    budget = None
    if options.has_budget and evaluation is not None:
        with stages.stage("budget"):
            budget = _within_budget(
                workshop, found.best, evaluation, shares(macs), options, progress
            )
            found = replace(found, best=budget.best, notes=(*found.notes, budget.reason))
    final = finished(found.best.model, ground.loaded.model, options.target)
    return Work(
        ground.loaded, ground.prepared, collection, found, final, macs,
        calibrated.described, calibrated.assumptions, evaluation, budget,
    )  # fmt: skip


def open_workshop(
    calibrated: Calibrated, options: Options
) -> tuple[Workshop, Mapping[str, int | None]]:
    """What builds and measures candidates, and the multiply-accumulates of each compute node."""
    ground, collection = calibrated.ground, calibrated.collection
    macs = count_macs(ground.prepared.model, collection.kept[0])
    measured, learning, others = _divided(collection.kept, measured_samples(macs))
    further = measured if others else ()
    workshop = Workshop(
        ground.prepared.model, ground.loaded.model, options.target, options.recipe,
        collection, calibrators_for(options.recipe.calibrator), measured, learning, others,
        further, threads=options.threads,
    )  # fmt: skip
    return workshop, macs


def tunes_latency(options: Options) -> bool:
    """Whether there are times that mean anything to the target, and they are to decide."""
    known = options.costs is not None or options.target.times_on(platform.machine())
    return known and options.latency_tuning and options.recipe.search


def hastened_as_asked(
    workshop: Workshop, start: Candidate, prices: Mapping[str, float], options: Options
) -> Hastened:
    """What is faster than a candidate: by given costs, or as measured here."""
    if options.costs is not None:
        return hasten_by(workshop, start, prices, options.costs)
    return hasten(workshop, start, prices)


def require_fitting_costs(options: Options, sha256: str) -> None:
    """Refuse costs of another model.

    Raises:
        RecipeError: They are of another one, or tell of one side only.
    """
    if options.costs is not None:
        require_same_model(options.costs.files, sha256)


def _within_budget(
    workshop: Workshop,
    start: Candidate,
    evaluation: Evaluation,
    arithmetic: Mapping[str, float],
    options: Options,
    progress: Progress,
) -> BudgetSearch:
    """Leave as little float as the budget allows."""
    few = workshop.samples[:PROOF_SAMPLES]

    def holds(candidate: Candidate, score: Score) -> bool:
        """Whether the verdict will be good: it counts all samples that were kept."""
        if not judge(options.thresholds, candidate.outputs, (), score).passed:
            return False
        outputs = workshop.confirm(candidate).outputs
        return judge(options.thresholds, outputs, (), score).passed

    return keep_budget(
        workshop,
        start,
        lambda light: closer(workshop, light, arithmetic),
        lambda: time_shares(start.floats.model, few, options.threads),
        lambda candidate: evaluation.score(workshop.open(candidate.model)),
        holds,
        options.limits if options.recipe.search else Limits(trials=1),
        options.thresholds.allowed_drop,
        progress.samples,
    )


def _divided(kept: Sequence[Sample], count: int) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Samples to measure on, at most ``count`` and half of all, to learn from, and all others."""
    # By place: a kept sample that lies on disk is another object each time.
    places = range(len(kept))
    measured = spread(places, min(count, (len(kept) + 1) // 2))
    others = [place for place in places if place not in measured]
    learning = spread(others, count)
    found, rest = ({p: kept[p] for p in chosen} for chosen in (measured, others))
    learned = [rest[place] for place in learning] or list(found.values())
    return list(found.values()), learned, list(rest.values())
