"""The models that tuning makes of one original, each run on the data and timed beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.api.block_options import BlockChoice, resolve_blocks
from edgeq.api.conversions import CONVERSIONS, Ground, with_half_floats
from edgeq.api.finishing import finished
from edgeq.api.grounding import PROOF_SAMPLES
from edgeq.api.options import require_operators
from edgeq.errors import EdgeqError
from edgeq.graph import saver
from edgeq.quantization.plan import NodeForm
from edgeq.runtime.latency import compare_latency
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets.releases import needed_on
from edgeq.tuning.candidate import settled
from edgeq.validation.points import ORIGINAL, Point, PointTime
from edgeq.validation.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import onnx_ir as ir

    from edgeq.api.calibrated import Calibrated
    from edgeq.api.evaluating import Evaluation
    from edgeq.api.options import Options
    from edgeq.metrics import Fidelity
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.targets.releases import Need
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.workshop import Workshop
    from edgeq.types import Sample

SCHEMES = ("dynamic", "fp16", "w8")
"""Schemes beside int8 that take seconds only."""

_SECONDS = 1.5
_ROUNDS = 9
_SAMPLES = 4


@dataclass(frozen=True, eq=False, slots=True)
class Made:
    """A model that was made.

    Attributes:
        name: Unlike that of any other.
        made: How, in words.
        scheme: Its scheme.
        model: As it would be written.
        recipe: Makes it again of the same data, with the scheme.
        outputs: Closeness of each output on calibration samples.
        candidate: What int8 models were made from.
    """

    name: str
    made: str
    scheme: str
    model: ir.Model
    recipe: Recipe
    outputs: dict[str, Fidelity]
    candidate: Candidate | None = None


class Bench:
    """Scores, weighs and times what is made of a model.

    Args:
        calibrated: The model, and its calibration samples.
        evaluation: The metric and its data.
        options: What is asked for.
        predict: Time of a candidate, where given costs tell it; None to time it here.
    """

    def __init__(
        self,
        calibrated: Calibrated,
        evaluation: Evaluation,
        options: Options,
        predict: Callable[[Candidate | None], PointTime] | None = None,
    ) -> None:
        self._loaded = calibrated.ground.loaded
        self._samples: Sequence[Sample] = [
            calibrated.collection.kept[place]
            for place in range(min(_SAMPLES, len(calibrated.collection.kept)))
        ]
        self._evaluation = evaluation
        self._options = options
        self._predict = predict
        self._threads = options.threads or 1
        self._fp32 = self._session(self._loaded.model, {}, "the original")

    def original(self) -> Point:
        """The point of the original."""
        score = self._evaluation.score(self._fp32)
        time = self._time(self._fp32, None)
        size = self._loaded.size_bytes
        # Against itself; what both differ by in time is noise.
        return Point(
            ORIGINAL, "the model as it is", ORIGINAL, score, None, replace(time, ratio=1.0),
            size, 1.0,
        )  # fmt: skip

    def point(self, made: Made) -> Point:
        """The point of a model."""
        entries = self._options.target.session_entries
        session = self._session(made.model, dict(entries), "the quantized model")
        score = self._evaluation.score(session)
        size = saver.serialized_size(made.model)
        choice = None if made.candidate is None else made.candidate.choice
        return Point(
            made.name, made.made, made.scheme, score, _worst_db(made.outputs),
            self._time(session, made.candidate), size, size / max(self._loaded.size_bytes, 1),
            0 if choice is None else len(choice.excluded),
            0 if choice is None else len(choice.float_for_speed),
            0 if choice is None else len(choice.integer_for_speed),
            judge(self._options.thresholds, made.outputs).failures,
        )  # fmt: skip

    def _session(self, model: ir.Model, entries: dict[str, str], what: str) -> Session:
        return Session(model, SessionConfig(self._threads, entries=entries), what=what)

    def _time(self, session: Session, candidate: Candidate | None) -> PointTime:
        if self._predict is not None:
            return self._predict(candidate)
        found = compare_latency(
            self._fp32, session, self._samples, threads=self._threads, min_rounds=_ROUNDS,
            seconds=_SECONDS,
        )  # fmt: skip
        fp32, other = found.fp32.median_ms, found.candidate.median_ms
        return PointTime(other, fp32, 1.0 / found.speedup, self._threads)


def of_candidate(
    workshop: Workshop, candidate: Candidate, original: ir.Model, options: Options, seed: int,
    name: str, told: str,
) -> Made:  # fmt: skip
    """An int8 model as it would be written, measured on all samples that were kept."""
    confirmed = workshop.confirm(candidate)
    model = finished(candidate.model, original, options.target)
    recipe = settled(options.recipe, candidate.choice, seed)
    return Made(name, told, "int8", model, recipe, dict(confirmed.outputs), candidate)


def in_scheme(
    scheme: str, calibrated: Calibrated, options: Options, progress: Progress
) -> Made | str:
    """The model in a scheme that needs no ranges, or why there is none.

    A scheme that does not suit the model or the target is no failure of tuning.
    """
    ground, kept = calibrated.ground, calibrated.collection.kept
    original = ground.loaded.model
    recipe = options.recipe
    try:
        blocks = resolve_blocks(scheme, BlockChoice(), has_data=False)
        require_operators(options.target, scheme, blocks)
        asked = replace(options, scheme=scheme, blocks=blocks)
        proof = [kept[place] for place in range(min(PROOF_SAMPLES, len(kept)))]
        given = Ground(ground.prepared.model.clone(), asked, (), proof, progress.samples)
        made = CONVERSIONS[scheme](given)
        if all(decision.form is NodeForm.FLOAT for decision in made.decisions):
            return f"{scheme} reaches nothing of this model"
        made = with_half_floats(made, asked)
        model = finished(made.model, original, options.target)
        config = SessionConfig(options.threads, entries=options.target.session_entries)
        session = Session(model, config, what=f"the {scheme} model")
        reference = Session(original, SessionConfig(options.threads), what="the original")
        outputs = compare(reference, session, kept)
    except EdgeqError as error:
        return f"{scheme} was left out: {error.what}"
    return Made(scheme, _SCHEMES_TOLD[scheme], scheme, model, recipe, dict(outputs))


def needs_told(models: Iterable[Made], target: TargetProfile) -> Iterator[str]:
    """Which models do not run in every onnxruntime that edgeq takes, in sentences."""
    found: dict[Need, list[str]] = {}
    for made in models:
        need = needed_on(made.model, target)
        if need is not None:
            found.setdefault(need, []).append(made.name)
    for need, names in found.items():
        yield f"{', '.join(names)}: {need} is needed"


_SCHEMES_TOLD = {
    "dynamic": "inputs of matrix products rounded while running",
    "fp16": "16-bit floats",
    "w8": "weights in blocks of 8-bit integers",
}


def _worst_db(outputs: dict[str, Fidelity]) -> float:
    return min((each.sqnr_db for each in outputs.values()), default=200.0)
