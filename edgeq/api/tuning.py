"""The frontier of accuracy, latency and size over precision and placement."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.calibrated import calibrated_from_data
from edgeq.api.evaluating import Evaluation
from edgeq.api.grounding import PROOF_SAMPLES, load
from edgeq.api.measuring import time_shares
from edgeq.api.options import resolve_options
from edgeq.api.quantizing import hastened_as_asked, open_workshop, require_fitting_costs
from edgeq.api.results import TuningResult
from edgeq.api.stages import Stages, environment, peak_rss_mb
from edgeq.api.tuned import SCHEMES, Bench, in_scheme, needs_told, of_candidate
from edgeq.errors import RecipeError
from edgeq.graph import opset
from edgeq.graph.interface import Interface
from edgeq.progress import Silent
from edgeq.quantization.ranges import calibrators_for
from edgeq.report.document import ModelFacts
from edgeq.report.frontier import FrontierReport, LimitRow
from edgeq.tuning.costs_file import costs_text
from edgeq.tuning.default import learn_again, search
from edgeq.tuning.frontier import Figures, dominators
from edgeq.tuning.given import Predictor
from edgeq.tuning.limits import DROP, LATENCY, SIZE, Limit, parse_limit, pick
from edgeq.tuning.rungs import Ladder
from edgeq.tuning.speed import profiled_costs
from edgeq.validation.coverage import shares
from edgeq.validation.points import PointTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.api.calibrated import Calibrated
    from edgeq.api.options import Options
    from edgeq.api.tuned import Made
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.costs import Costs
    from edgeq.tuning.workshop import Workshop
    from edgeq.validation.points import Point

MAX_POINTS = 12
"""Models that are made, fp32 counted, unless told."""

_FEWEST = 2


def tune(
    model: object,
    calibration_data: object,
    evaluation_data: object,
    *,
    metric: str | None = None,
    max_drop: str | float | None = None,
    max_latency: str | float | None = None,
    max_size: str | float | None = None,
    max_points: int = MAX_POINTS,
    target: str = "cpu",
    calibrator: str | None = None,
    recipe: Recipe | str | Path | None = None,
    exclude: Sequence[str] = (),
    max_samples: int | None = None,
    threads: int = 0,
    seed: int | None = None,
    skip_steps: Sequence[str] = (),
    costs: Sequence[str | Path] = (),
    keep_costs: bool = False,
    progress: Progress | None = None,
) -> TuningResult:
    """Make many models of one, and find those that none of the others beats in everything.

    They differ in precision (int8, half floats, weights in blocks, integers found while running)
    and in placement (which layers stay float for accuracy or speed). Each is built, scored on the
    evaluation data and timed in turn with fp32.

    Args:
        model: Anything :func:`edgeq.quantize` takes. Never changed.
        calibration_data: As there. Read once.
        evaluation_data: Samples for the metric, not among those of calibration.
        metric: As there; None for the one without labels that suits.
        max_drop: Pick the fastest model that loses no more of the metric: ``"0.5%"`` of fp32's, or
            in its own unit. One limit at most is given.
        max_latency: Pick the most accurate model that takes no longer: milliseconds, or
            ``"60%"`` or ``"0.6x"`` of fp32's time.
        max_size: Pick the most accurate model that is no larger: bytes, ``"2MB"``, or ``"30%"`` or
            ``"0.3x"`` of fp32's size.
        max_points: Models to make at most, fp32 counted.
        target: Name of the target profile.
        calibrator: ``NAME[:key=value,...]`` or ``auto``; overrides the recipe's.
        recipe: Choices that go beyond these arguments, or the file that holds them.
        exclude: Patterns of node names and op types that stay float in every model.
        max_samples: Calibration samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose, and times one.
        seed: Seed of the sample of the data that is kept.
        skip_steps: Names of recovery steps not to try.
        costs: Files of times that decide in place of measuring, as for :func:`edgeq.quantize`. The
            times of all models are then what these predict, and there are int8 models only.
        keep_costs: Whether to profile what each node takes, for :meth:`TuningResult.costs_json`.
        progress: Listens to the run.

    Returns:
        All points; with a limit, the one that was picked. Look at ``passed`` before saving it.

    Raises:
        EdgeqError: See :mod:`edgeq.errors`; the message says what to do.
    """
    limit = _limit(max_drop, max_latency, max_size)
    if max_points < _FEWEST:
        raise RecipeError(
            f"{max_points} is too few models to compare",
            where="max_points",
            remedy="Give 2 or more: fp32 is one of them",
        )
    options = resolve_options(
        "int8", target, calibrator, recipe, exclude, threads, seed, True, None, evaluation_data,
        metric, None, None, skip_steps, costs=costs,
    )  # fmt: skip
    _require_search(options)
    listener = progress or Silent()
    stages = Stages(listener)
    with stages.stage("load"):
        loaded = load(model)
        require_fitting_costs(options, loaded.sha256)
        evaluation = Evaluation(evaluation_data, metric, loaded.model, threads=options.threads)
    calibrated = calibrated_from_data(
        loaded, calibration_data, options.target, options.recipe, stages, listener,
        max_samples=max_samples, threads=options.threads,
    )  # fmt: skip
    maker = _Maker(calibrated, options, stages, listener, keep_costs)
    predict = maker.predicted if options.costs is not None else None
    bench = Bench(calibrated, evaluation, options, predict)
    points, made = _run(maker, bench, max_points, stages, listener)
    return _result(calibrated, options, maker, points, made, limit, stages)


def _limit(
    max_drop: str | float | None, max_latency: str | float | None, max_size: str | float | None
) -> Limit | None:
    asked = {DROP: max_drop, LATENCY: max_latency, SIZE: max_size}
    given = [(kind, str(text)) for kind, text in asked.items() if text is not None]
    if len(given) > 1:
        options = " and ".join(f"--{kind.replace('_', '-')}" for kind, _ in given)
        raise RecipeError(
            "two limits were given",
            where=options,
            remedy="Give one; the table shows the other figures of every model",
        )
    return parse_limit(*given[0]) if given else None


def _require_search(options: Options) -> None:
    if not options.recipe.search:
        raise RecipeError(
            "the recipe has nothing searched for, and tuning is a search",
            where="search = false",
            remedy="Leave it out of the recipe, or run edgeq quantize with it",
        )
    if options.costs is None and not options.target.times_on(platform.machine()):
        raise RecipeError(
            f"times of target {options.target.name} cannot be measured on {platform.machine()}",
            where="--target",
            remedy="Take a target that runs here, or give times of its own with --costs",
        )


@dataclass(slots=True)
class _Maker:
    """Makes one model after the other, the most telling first."""

    calibrated: Calibrated
    options: Options
    stages: Stages
    progress: Progress
    keep_costs: bool
    notes: tuple[str, ...] = ()
    costs: Costs | None = None
    predictor: Predictor | None = None

    def models(self, count: int) -> Iterator[Made]:
        """So many at most."""
        with self.stages.stage("quantize"):
            workshop, macs = open_workshop(self.calibrated, self.options)
            names = tuple(calibrators_for(self.options.recipe.calibrator))
            found = search(workshop, names, shares(macs))
        with self.stages.stage("tune"):
            fast = hastened_as_asked(workshop, found.best, shares(macs), self.options)
            self._price(workshop, found.best)
        told = {"int8": (fast.best, _DEFAULT), "int8-plain": (found.best, _PLAIN)}
        if fast.best is found.best:
            del told["int8-plain"]
        with self.stages.stage("quantize"):
            learned = {name: learn_again(workshop, each) for name, (each, _) in told.items()}
        self.notes = (*self.notes, *found.notes, *fast.notes, *learned["int8"].notes)
        starts = {name: (learned[name].best, made) for name, (_, made) in told.items()}
        first = [self._made(workshop, each, name, told) for name, (each, told) in starts.items()]
        yield from first[:count]
        left = count - len(first)
        for made in self._schemes(left):
            left -= 1
            yield made
        yield from self._ladders(workshop, starts, left)

    def _price(self, workshop: Workshop, start: Candidate) -> None:
        """Keep what nodes take, where that is asked for or decides."""
        if self.options.costs is not None:
            self.costs = self.options.costs.costs(workshop, start)
            self.predictor = Predictor(workshop, start, self.costs)
        elif self.keep_costs:
            self.costs = profiled_costs(workshop, start)

    def predicted(self, candidate: Candidate | None) -> PointTime:
        """What given costs say of a candidate, or of the original."""
        if self.predictor is None:
            raise ValueError("there are no costs yet")
        whole = self.predictor.original_us()
        spent = whole if candidate is None else self.predictor.microseconds(candidate)
        return PointTime(spent / 1e3, whole / 1e3, spent / whole, 0, predicted=True)

    def _schemes(self, count: int) -> Iterator[Made]:
        if self.options.costs is not None:
            self.notes = (*self.notes, "Costs tell of int8 only: other schemes were left out")
            return
        for scheme in SCHEMES[: max(count, 0)]:
            with self.stages.stage("quantize"):
                made = in_scheme(scheme, self.calibrated, self.options, self.progress)
            if isinstance(made, str):
                self.notes = (*self.notes, made)
            else:
                yield made

    def _ladders(
        self, workshop: Workshop, starts: Mapping[str, tuple[Candidate, str]], count: int
    ) -> Iterator[Made]:
        """Ever more layers in float, in turn for each start."""
        each = -(-count // len(starts))
        seen = {_forms(start) for start, _ in starts.values()}
        for name, (start, told) in starts.items():
            if count <= 0:
                return
            with self.stages.stage("budget"):
                few = workshop.samples[:PROOF_SAMPLES]
                prices = time_shares(start.floats.model, few, self.options.threads)
                built = list(Ladder(workshop, start, prices).candidates(min(each, count)))
            for candidate in built:
                if _forms(candidate) in seen:
                    continue
                seen.add(_forms(candidate))
                more = len(candidate.choice.excluded) - len(start.choice.excluded)
                said = f"{told}, {more} more layers float for accuracy"
                yield self._made(workshop, candidate, f"{name}-float-{more}", said)
                count -= 1

    def _made(self, workshop: Workshop, candidate: Candidate, name: str, told: str) -> Made:
        with self.stages.stage("validate"):
            return of_candidate(
                workshop, candidate, self.calibrated.ground.loaded.model, self.options,
                self.calibrated.collection.kept.seed, name, told,
            )  # fmt: skip


_DEFAULT = "what edgeq quantize makes"
_PLAIN = "the same without what measured times decided"


def _forms(candidate: Candidate) -> frozenset[tuple[str, str]]:
    """Where each node runs: candidates alike in that are alike."""
    return frozenset((d.node, d.form.value) for d in candidate.plan.decisions)


def _run(
    maker: _Maker, bench: Bench, count: int, stages: Stages, progress: Progress
) -> tuple[list[Point], dict[str, Made]]:
    """Make and measure, fp32 first."""
    points: list[Point] = []
    models: dict[str, Made] = {}
    for made in maker.models(count - 1):
        with stages.stage("frontier"):
            # Given costs are known once there is a candidate that they are of.
            points += [] if points else [bench.original()]
            points.append(bench.point(made))
        models[made.name] = made
        progress.samples(len(points), count)
    return points, models


def _result(
    calibrated: Calibrated,
    options: Options,
    maker: _Maker,
    points: Sequence[Point],
    models: Mapping[str, Made],
    limit: Limit | None,
    stages: Stages,
) -> TuningResult:
    loaded, prepared = calibrated.ground.loaded, calibrated.ground.prepared
    beaten = dominators([Figures.of(point) for point in points])
    picked = None if limit is None else pick(points, limit)
    chosen = None if picked is None or picked.point is None else picked.point.name
    row = None
    if limit is not None and picked is not None:
        row = LimitRow(limit.kind, limit.amount, limit.relative, chosen is not None, picked.reason)
    report = FrontierReport(
        model=ModelFacts(
            loaded.path,
            loaded.sha256,
            opset.default_opset(loaded.model),
            Interface.of(loaded.model),
        ),
        target=options.target.name,
        calibrator=options.recipe.calibrator,
        samples=calibrated.collection.samples,
        points=tuple(points),
        dominated={
            point.name: points[place].name
            for point, place in zip(points, beaten, strict=True)
            if place is not None
        },
        limit=row,
        chosen=chosen,
        costs=None if options.costs is None else options.costs.told,
        timings=stages.seconds,
        peak_rss_mb=peak_rss_mb(),
        notes=tuple(
            dict.fromkeys(
                (
                    *loaded.notes,
                    f"Calibrated on {calibrated.described}",
                    *calibrated.assumptions,
                    *prepared.notes,
                    *maker.notes,
                    *needs_told(models.values(), options.target),
                )
            )
        ),
        environment=environment(),
    )
    made = {name: (each.model, each.recipe) for name, each in models.items()}
    return TuningResult(report, made, _costs_text(maker, options, loaded.sha256))


def _costs_text(maker: _Maker, options: Options, sha256: str) -> str | None:
    """The document of a costs file; None where costs were neither measured nor given."""
    if maker.costs is None:
        return None
    measured_on: dict[str, object] = {
        "device": "this machine",
        "machine": platform.machine(),
        "runtime": f"onnxruntime {environment()['onnxruntime']}",
        "threads": options.threads or 1,
    }
    if options.costs is not None:
        measured_on = {"device": options.costs.told}
    return costs_text(maker.costs, sha256, measured_on)
