"""Walks the ladder for a model: makes, scores and times one after the other, and recommends one."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from edgeq.api.decoding import decode
from edgeq.api.grounding import load
from edgeq.api.quantizing import quantize
from edgeq.api.stages import environment, peak_rss_mb
from edgeq.calibration.sources.text import with_tokenizer
from edgeq.errors import EdgeqError, ValidationFailed
from edgeq.graph.cache_ports import cache_ports
from edgeq.progress import Silent
from edgeq.tuning.guiding import Climbed, Subject, beaten_by, ladder, recommended
from edgeq.validation.verdict import parse_drop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.api.results import QuantizationResult
    from edgeq.graph.loader import LoadedModel
    from edgeq.progress import Progress
    from edgeq.tuning.guiding import Rung
    from edgeq.validation.verdict import Score

MAX_DROP: Final = "2%"
CONTEXT: Final = 512
"""Tokens behind which a language model is timed, and its cache weighed, unless told."""

_WRITTEN: Final = 6
ORIGINAL: Final = "fp32"


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
        max_samples: Calibration samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Raises:
        EdgeqError: The model or the data cannot be used at all.
    """
    parse_drop(max_drop)
    loaded = load(model)
    language, cached = _is_language(loaded.model), bool(_ports(loaded.model))
    subject = Subject(language, cached, calibration_data is not None, max_drop)
    data = (_held(evaluation_data), _held(calibration_data))
    metric = metric or ("perplexity" if language else None)
    told: dict[str, object] = {"metric": metric, "tokenizer": tokenizer, "window": window}
    if calibration_data is not None:
        told["max-samples"] = max_samples
    walk = _Walk(
        model,
        loaded,
        subject,
        with_tokenizer(data, model, tokenizer, window),
        {"metric": metric, "threads": threads, "progress": progress},
        max_samples,
        _command_of(loaded.path, data, {**told, "max-drop": max_drop}),
        context,
    )
    climbed = walk.climb((progress or Silent()).samples)
    score = walk.score
    if score is None:
        raise ValidationFailed(
            "no model could be made", remedy=f"{'; '.join(walk.notes)}; see edgeq inspect MODEL"
        )
    return Guidance(
        loaded.path, score.name, score.higher_is_better, max_drop, context if language else None,
        climbed, beaten_by(climbed), recommended(climbed), tuple(walk.notes), peak_rss_mb(),
    )  # fmt: skip


def _held(data: object) -> object:
    """Data that can be read again: what is neither a file nor a list is held in memory."""
    if data is None or isinstance(data, str | PathLike | list | tuple):
        return data
    return list(data) if hasattr(data, "__iter__") else data


def _ports(model: ir.Model) -> int:
    return sum(port.bytes_per_token for port in cache_ports(model))


def _is_language(model: ir.Model) -> bool:
    """Whether tokens go in and logits [batch, positions, words] come out."""
    names = {value.name for value in model.graph.inputs}
    wide = [v for v in model.graph.outputs if v.shape is not None and len(v.shape) == 3]
    return "input_ids" in names and any(v.name == "logits" or len(wide) == 1 for v in wide)


class _Walk:
    """Makes and measures the models of a ladder.

    Args:
        model: The model, as it was given.
        loaded: The same, loaded.
        subject: What the ladder depends on.
        data: Samples to score on, and to learn from.
        common: Arguments of every :func:`edgeq.quantize`.
        max_samples: Samples to learn from at most.
        command: What makes a rung, on the command line.
        context: Tokens behind which a language model is timed.
    """

    def __init__(
        self,
        model: object,
        loaded: LoadedModel,
        subject: Subject,
        data: tuple[object, ...],
        common: dict[str, Any],
        max_samples: int | None,
        command: Callable[[Rung], str],
        context: int,
    ) -> None:
        self._model = model
        self._loaded = loaded
        self._subject = subject
        self._evaluation, self._calibration = data
        self._common = common
        self._max_samples = None if self._calibration is None else max_samples
        self._command = command
        self._context = context
        self.notes: list[str] = []
        self.score: Score | None = None
        self._original: Climbed | None = None

    def climb(self, told: Callable[[int, int | None], None]) -> tuple[Climbed, ...]:
        """The original and all that was made, in order."""
        steps, made = ladder(self._subject), []
        holds: bool | None = None
        while True:
            try:
                rung = next(steps) if holds is None else steps.send(holds)
            except StopIteration:
                break
            found = self._made(rung)
            holds = found is not None and found.holds
            made += [] if found is None else [found]
            told(len(made), None)
        return tuple(made) if self._original is None else (self._original, *made)

    def _made(self, rung: Rung) -> Climbed | None:
        try:
            result = quantize(
                self._model, self._calibration, scheme=rung.scheme, max_samples=self._max_samples,
                evaluation_data=self._evaluation, **self._common, **rung.options,
            )  # fmt: skip
        except EdgeqError as error:
            self.notes.append(f"{rung.name} was left out: {error.what}")
            return None
        return self._measured(rung, result)

    def _measured(self, rung: Rung, result: QuantizationResult) -> Climbed | None:
        score, report = result.report.metric, result.report
        if score is None:
            raise ValueError("there is no score")
        self.score = score
        time = self._times(result)
        if self._original is None:
            size = self._loaded.size_bytes
            cache = self._context * _ports(self._loaded.model)
            self._original = Climbed(ORIGINAL, "", True, score.fp32, 0.0, 1.0, time[1], size, cache)
        drop, relative = parse_drop(self._subject.max_drop)
        allowed = drop * abs(score.fp32) if relative else drop
        reasons = list(report.verdict.failures)
        if not score.drop <= allowed:
            reasons.append(f"{score.name} is worse by {score.drop:.4g}, {allowed:.4g} is allowed")
        return Climbed(
            rung.name, self._command(rung), not reasons, score.candidate, score.drop,
            time[0] / time[1], time[0], report.candidate_bytes,
            self._context * _ports(result.model), "; ".join(dict.fromkeys(reasons)),
        )  # fmt: skip

    def _times(self, result: QuantizationResult) -> tuple[float, float]:
        """Milliseconds of the result and of the original, taken in turn."""
        if self._subject.language:
            try:
                (row,) = decode(
                    result.model, _WRITTEN, reference=self._loaded.model,
                    contexts=[self._context], threads=self._common["threads"],
                ).rows  # fmt: skip
            except EdgeqError as error:
                self.notes.append(f"Writing was not timed: {error.what}")
            else:
                reference = row.reference or row.model
                return 1e3 / row.model.written, 1e3 / reference.written
        if not result.report.latency:
            return math.nan, math.nan
        first = result.report.latency[0]
        return first.fp32.median_ms / first.speedup, first.fp32.median_ms


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
