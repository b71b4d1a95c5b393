"""Making, scoring and timing the models of a ladder, one after the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from edgeq.api.decoding import decode
from edgeq.api.quantizing import quantize
from edgeq.api.validating import fed_alike
from edgeq.errors import EdgeqError
from edgeq.graph.cache_ports import cache_ports
from edgeq.runtime.session import QUANTIZED, Session, SessionConfig
from edgeq.tuning.guiding import Climbed, ladder
from edgeq.validation.verdict import DEFAULT, Thresholds, judge, parse_drop

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.api.evaluating import Evaluation
    from edgeq.api.results import QuantizationResult
    from edgeq.graph.loader import LoadedModel
    from edgeq.progress import Progress
    from edgeq.tuning.guiding import Rung, Schedule, Subject
    from edgeq.validation.verdict import Score

_WRITTEN: Final = 6
_WRITTEN_ANEW: Final = 2
"""Tokens that are written without a cache: each reads everything before it."""

ORIGINAL: Final = "fp32"


def cache_bytes_a_token(model: ir.Model) -> int:
    """What the cache of a model takes for each token; 0 without one."""
    return sum(port.bytes_per_token for port in cache_ports(model))


class _Titled:
    """Says in front of every stage what it belongs to."""

    def __init__(self, title: str, inner: Progress) -> None:
        self._title, self._inner = title, inner
        self.samples = inner.samples

    def stage(self, name: str) -> None:
        """See :class:`edgeq.progress.Progress`."""
        self._inner.stage(f"{self._title}: {name}")


class Walk:
    """Makes and measures the models of a ladder.

    Args:
        model: The model, as it was given.
        loaded: The same, loaded.
        subject: What the ladder depends on.
        data: Samples to search for a budget on, to learn from, and how many of these at most.
        common: Arguments of every :func:`edgeq.quantize`.
        evaluation: Scores what was made.
        command: What makes a rung, on the command line.
        context: Tokens behind which a language model is timed.
        schedule: Says what fits into the time.
        progress: Listens to the run.
    """

    def __init__(
        self,
        model: object,
        loaded: LoadedModel,
        subject: Subject,
        data: tuple[object, object, int | None],
        common: dict[str, Any],
        evaluation: Evaluation,
        command: Callable[[Rung], str],
        context: int,
        schedule: Schedule,
        progress: Progress,
    ) -> None:
        self._model = model
        self._loaded = loaded
        self._subject = subject
        self._searched_on, self._calibration, self._max_samples = data
        self._common = common
        self._evaluation = evaluation
        self._command = command
        self._context = context
        self._schedule = schedule
        self._progress = progress
        self.notes: list[str] = []
        self.score: Score | None = None
        self._original: Climbed | None = None

    def climb(self) -> tuple[Climbed, ...]:
        """The original and all that was made, in order."""
        steps = ladder(self._subject)
        made: list[Climbed] = []
        holds: bool | None = None
        while True:
            try:
                rung = next(steps) if holds is None else steps.send(holds)
            except StopIteration:
                break
            found = self._in_time(rung, found=any(each.holds for each in made))
            holds = found is not None and found.holds
            made += [] if found is None else [found]
        return tuple(made) if self._original is None else (self._original, *made)

    def _in_time(self, rung: Rung, *, found: bool) -> Climbed | None:
        """What became of a rung; None where it failed, or would not be through in time."""
        if not self._schedule.fits(rung, found=found):
            self.notes.append(f"{rung.name} was left out for lack of time: give more, --time-limit")
            return None
        with self._schedule.running(rung):
            return self._made(rung)

    def _made(self, rung: Rung) -> Climbed | None:
        left = self._schedule.left
        listener = _Titled(f"{rung.name}, {left:.0f} s left", self._progress)
        searched: dict[str, Any] = {}
        if "max_drop" in rung.options:
            searched = {"evaluation_data": self._searched_on, "time_limit": left}
            searched["metric"] = self._common["metric"]
        try:
            result = quantize(
                self._model, self._calibration, scheme=rung.scheme, max_samples=self._max_samples,
                threads=self._common["threads"],
                # A language model is timed while it writes.
                validate=not self._subject.language,
                progress=listener, **searched, **rung.options,
            )  # fmt: skip
            listener.stage("evaluate")
            score = self._scored(result.model)
        except EdgeqError as error:
            self.notes.append(f"{rung.name} was left out: {error.what}")
            return None
        listener.stage("time")
        return self._measured(rung, result, score)

    def _scored(self, candidate: ir.Model) -> Score:
        model = fed_alike(self._loaded.model, candidate)
        config = SessionConfig(self._common["threads"])
        return self._evaluation.score(Session(model, config, what=QUANTIZED))

    def _measured(self, rung: Rung, result: QuantizationResult, score: Score) -> Climbed:
        report = result.report
        self.score = score
        time = self._times(result)
        if self._original is None:
            size = self._loaded.size_bytes
            cache = self._context * cache_bytes_a_token(self._loaded.model)
            self._original = Climbed(ORIGINAL, "", True, score.fp32, 0.0, 1.0, time[1], size, cache)
        # Random inputs say nothing about how close it is.
        verdict = judge(DEFAULT if report.samples else Thresholds(), report.outputs)
        reasons = [*report.verdict.failures, *verdict.failures]
        drop, relative = parse_drop(self._subject.max_drop)
        allowed = Thresholds(max_drop=drop, relative_drop=relative).allowed_drop(score.fp32)
        if not score.drop <= allowed:
            reasons.append(f"{score.name} is worse by {score.drop:.4g}, {allowed:.4g} allowed")
        return Climbed(
            rung.name, self._command(rung), not reasons, score.candidate, score.drop,
            time[0] / time[1], time[0], report.candidate_bytes,
            self._context * cache_bytes_a_token(result.model), "; ".join(dict.fromkeys(reasons)),
        )  # fmt: skip

    def _times(self, result: QuantizationResult) -> tuple[float, float]:
        """Milliseconds of the result and of the original, taken in turn."""
        if self._subject.language:
            tokens = _WRITTEN if self._subject.cached else _WRITTEN_ANEW
            try:
                (row,) = decode(
                    result.model, tokens, reference=self._loaded.model,
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
