"""Walks the ladder for a model: makes, scores and times one after the other, and recommends one."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from edgeq.api.affordable import Affordable
from edgeq.api.climbing import Walk, cache_bytes_a_token
from edgeq.api.evaluating import Evaluation
from edgeq.api.grounding import load
from edgeq.api.stages import environment, peak_rss_mb
from edgeq.calibration.sources.text import with_tokenizer
from edgeq.errors import ValidationFailed
from edgeq.progress import Silent
from edgeq.tuning.guiding import Schedule, Subject, beaten_by, recommended
from edgeq.validation.verdict import parse_drop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.progress import Progress
    from edgeq.tuning.guiding import Climbed, Rung

MAX_DROP: Final = "2%"
CONTEXT: Final = 512
"""Tokens behind which a language model is timed, and its cache weighed, unless told."""

TIME_LIMIT: Final = 600.0
"""Seconds for the whole walk unless told."""

_SHARE: Final = 1 / 20
"""Part of the time in which the original reads the samples that a rung learns from, or those that
it is scored on."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """What walking the ladder showed.

    Attributes:
        model: The file; None for a model in memory.
        metric: The metric.
        higher_is_better: Which way is better.
        max_drop: The budget.
        context: Tokens behind which times were taken; None for a model that is no language model.
        climbed: All models, the original first.
        beaten: Name -> that of one that is nowhere worse and somewhere better.
        choice: The one that is recommended; None where none beats the original within the budget.
        notes: What was left out, and why.
        peak_rss_mb: Largest resident size of the process, in MB (10^6 bytes).
    """

    model: Path | None
    metric: str
    higher_is_better: bool
    max_drop: str
    context: int | None
    climbed: tuple[Climbed, ...]
    beaten: dict[str, str]
    choice: Climbed | None
    notes: tuple[str, ...]
    peak_rss_mb: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return {
            "schema": 1,
            "model": None if self.model is None else str(self.model),
            "metric": {"name": self.metric, "higher_is_better": self.higher_is_better},
            "max_drop": self.max_drop,
            "context": self.context,
            "models": [self._row(each) for each in self.climbed],
            "recommended": None if self.choice is None else self.choice.name,
            "command": None if self.choice is None else self.choice.command,
            "notes": list(self.notes),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "environment": environment(),
        }

    def _row(self, each: Climbed) -> dict[str, Any]:
        return {
            "name": each.name,
            "command": each.command or None,
            "holds": each.holds,
            "reason": each.reason or None,
            "score": each.score,
            "drop": each.drop,
            "time_ratio": None if math.isnan(each.ratio) else round(each.ratio, 4),
            "milliseconds": None if math.isnan(each.milliseconds) else each.milliseconds,
            "size_bytes": each.size_bytes,
            "cache_bytes": each.cache_bytes,
            "frontier": each.name not in self.beaten,
            "beaten_by": self.beaten.get(each.name),
        }


def guide(
    model: object,
    evaluation_data: object,
    *,
    calibration_data: object = None,
    metric: str | None = None,
    max_drop: str = MAX_DROP,
    context: int = CONTEXT,
    tokenizer: str | Path | None = None,
    window: int | None = None,
    max_samples: int | None = None,
    time_limit: float = TIME_LIMIT,
    threads: int = 0,
    progress: Progress | None = None,
) -> Guidance:
    """Find out what to make of a model, by making it.

    A language model begins with weights in 4 bits; fewer are tried where those keep to the
    budget, else more; then attention over its cache is fused and the cache goes into integers.
    Other models begin with int8. Every step is an :func:`edgeq.quantize` of its own.

    Args:
        model: Anything :func:`edgeq.quantize` takes. Never changed.
        evaluation_data: Samples for the metric; read anew for each model.
        calibration_data: Samples to learn from, not among those of evaluation; None for none.
        metric: As for :func:`edgeq.quantize`; None for ``perplexity`` of a language model, else one
            without labels.
        max_drop: The largest loss of the metric: ``"2%"`` of fp32's, or in its own unit.
        context: Tokens behind which a language model is timed.
        tokenizer: For data that is text.
        window: For data that is text.
        max_samples: Calibration samples to read at most; None for as many as the time allows.
        time_limit: Seconds after which nothing more is begun; what does not fit in, by the time
            that the steps before took, is left out.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Raises:
        EdgeqError: The model or the data cannot be used at all.
    """
    schedule = Schedule(time_limit)
    parse_drop(max_drop)
    loaded = load(model)
    language, cached = _is_language(loaded.model), bool(cache_bytes_a_token(loaded.model))
    subject = Subject(language, cached, calibration_data is not None, max_drop)
    data = (_held(evaluation_data), _held(calibration_data))
    metric = metric or ("perplexity" if language else None)
    evaluation, calibration = with_tokenizer(data, model, tokenizer, window)
    affordable = Affordable(loaded.model, time_limit, threads=threads)
    if calibration is not None and max_samples is None:
        max_samples = affordable.of(calibration, _SHARE)
    scored = None
    # A function of the user's may score the set as a whole, as one of neighbours does.
    if metric is None or ":" not in metric:
        scored = affordable.of(evaluation, _SHARE)
    del affordable
    told: dict[str, object] = {"metric": metric, "tokenizer": tokenizer, "window": window}
    told |= {"max-samples": max_samples, "max-drop": max_drop}
    scorer = Evaluation(evaluation, metric, loaded.model, threads=threads, max_samples=scored)
    # What is wrong with the metric or the data shows here, and not once for every rung.
    scorer.original()
    walk = Walk(
        model,
        loaded,
        subject,
        (evaluation, calibration, max_samples),
        {"metric": metric, "threads": threads},
        scorer,
        _command_of(loaded.path, data, told),
        context,
        schedule,
        progress or Silent(),
    )
    climbed = walk.climb()
    score = walk.score
    if score is None:
        raise ValidationFailed(
            "no model could be made", remedy=f"{'; '.join(walk.notes)}; see edgeq inspect MODEL"
        )
    if scored is not None:
        walk.notes.append(f"Scored on {scored} samples, for lack of time: give more, --time-limit")
    return Guidance(
        loaded.path, score.name, score.higher_is_better, max_drop, context if language else None,
        climbed, beaten_by(climbed), recommended(climbed), tuple(walk.notes), peak_rss_mb(),
    )  # fmt: skip


def _held(data: object) -> object:
    """Data that can be read again: what is neither a file nor a list is held in memory."""
    if data is None or isinstance(data, str | PathLike | list | tuple):
        return data
    return list(data) if hasattr(data, "__iter__") else data


def _is_language(model: ir.Model) -> bool:
    """Whether tokens go in and logits [batch, positions, words] come out."""
    names = {value.name for value in model.graph.inputs}
    wide = [v for v in model.graph.outputs if v.shape is not None and len(v.shape) == 3]
    return "input_ids" in names and any(v.name == "logits" or len(wide) == 1 for v in wide)


def _command_of(
    path: Path | None, data: tuple[object, object], flags: dict[str, object]
) -> Callable[[Rung], str]:
    """What makes a rung again, held against the budget; empty for objects in memory."""
    evaluation, calibration = data
    named = {"calib": calibration, "eval": evaluation}
    given = {name: value for name, value in (named | flags).items() if value is not None}
    in_files = all(isinstance(d, str | PathLike) for d in data if d is not None)

    def command(rung: Rung) -> str:
        if path is None or not in_files:
            return ""
        words = ["edgeq", "quantize", str(path), "--scheme", rung.scheme, *rung.flags]
        for name, value in given.items():
            if f"--{name}" not in words:
                words += [f"--{name}", str(value)]
        return shlex.join(words)

    return command
