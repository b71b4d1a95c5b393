"""Scores of candidates in bounded time: on few samples first, on all where those promise enough."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from edgeq.api.evaluating import Evaluation
from edgeq.api.measuring import input_specs
from edgeq.api.validating import fed_alike
from edgeq.calibration.sources import open_source
from edgeq.runtime.session import Session, SessionConfig
from edgeq.validation.verdict import parse_drop

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.types import Sample
    from edgeq.validation.verdict import Score

_FEWEST: Final = 8
"""Samples that are scored on in any case."""

_PROMISING: Final = 1.5
"""Times the allowed loss up to which few samples do not refuse a candidate."""


class Promise:
    """Scores candidates against their original.

    Args:
        original: The model.
        data: Labelled samples that can be read again.
        metric: As for :class:`edgeq.api.evaluating.Evaluation`.
        max_drop: The budget.
        few: Samples to look at first, with a metric of edgeq's own.
        threads: Threads of onnxruntime; 0 lets it choose.
    """

    def __init__(
        self,
        original: ir.Model,
        data: object,
        metric: str | None,
        max_drop: str,
        few: int,
        *,
        threads: int = 0,
    ) -> None:
        self._original, self._threads = original, threads
        self._drop, self._relative = parse_drop(max_drop)
        self._all = Evaluation(data, metric, original, threads=threads)
        self._few = self._all
        count = open_source(data, input_specs(original)).length_hint()
        # A function of the user's may score the set as a whole, as one of neighbours does.
        is_ours = metric is None or ":" not in metric
        if is_ours and (count is None or count > few):
            self._few = Evaluation(data, metric, original, threads=threads, max_samples=few)
        self.few = few

    def allowed(self, score: Score) -> float:
        """The largest drop, in the unit of the metric."""
        return self._drop * abs(score.fp32) if self._relative else self._drop

    def score(self, candidate: ir.Model) -> tuple[Score, bool]:
        """The score, and whether it is that of all samples.

        Raises:
            EdgeqError: The candidate does not run, or the data does not fit the metric.
        """
        model = fed_alike(self._original, candidate)
        session = Session(model, SessionConfig(self._threads), what="the quantized model")
        first = self._few.score(session)
        if self._few is self._all:
            return first, True
        if first.drop > _PROMISING * self.allowed(first):
            return first, False
        return self._all.score(session), True


def samples_within(model: ir.Model, data: object, seconds: float, *, threads: int = 0) -> int:
    """How many samples a model can be run on in some seconds, 8 at least.

    Args:
        model: The model; it is run on two samples.
        data: The samples.
        seconds: The time.
        threads: Threads of onnxruntime; 0 lets it choose.
    """
    session = Session(model, SessionConfig(threads), what="the original")
    samples = list(islice(open_source(data, input_specs(model)), 2))
    once = min(_timed(session, sample) for sample in samples)
    return max(_FEWEST, int(seconds / max(once, 1e-6)))


def _timed(session: Session, sample: Sample) -> float:
    start = time.perf_counter()
    session.run(sample)
    return time.perf_counter() - start
