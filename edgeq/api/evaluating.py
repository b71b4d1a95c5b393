"""A metric on evaluation data: of the original once, of candidates as often as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs, reduced_answers, task_score
from edgeq.calibration.sources import open_source
from edgeq.metrics.named import load_metric
from edgeq.metrics.relative import relative_metric
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session, SessionConfig
from edgeq.validation.verdict import Score

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from edgeq.api.options import Options
    from edgeq.metrics import Metric
    from edgeq.types import Sample


class Evaluation:
    """Scores candidates against their original.

    Args:
        data: As for calibration. What can be read once only is held in memory.
        metric: Name or reference; None for agreement with fp32 where the outputs are rows of
            scores, and for the share of the signal that is right elsewhere.
        model: The original.
        threads: Threads of the session that runs it; 0 lets onnxruntime choose.
        max_samples: Samples to read at most; None for all.

    Raises:
        EdgeqError: The data cannot be opened, or there is no such metric.
    """

    def __init__(
        self,
        data: object,
        metric: str | None,
        model: ir.Model,
        *,
        threads: int = 0,
        max_samples: int | None = None,
    ) -> None:
        self._source = open_source(data, input_specs(model), max_samples=max_samples)
        self._held: list[Sample] | None = None
        self._model = model
        self._threads = threads
        self._opened: Session | None = None
        self._relative = relative_metric(metric or _without_labels(model))
        self._task = None if self._relative else load_metric(metric or "")
        self.name = metric or (self._relative.name if self._relative else "")
        self._fp32: float | None = None

    def score(self, candidate: Session) -> Score:
        """Run a candidate over the data.

        Raises:
            DataError: The data does not fit the model or the metric.
            PluginError: A metric of the user's fails.
        """
        if self._relative is not None:
            found = compare(self._original(), candidate, self._samples())
            return Score(self.name, 1.0, self._relative(found))
        task = self._task
        if task is None:
            raise ValueError("there is no metric")
        return Score(
            self.name, self.original(), self._scored(candidate, task), task.higher_is_better
        )

    def original(self) -> float:
        """The score of the original, computed once; 1 where candidates are compared with it.

        Raises:
            DataError: The data does not fit the model or the metric.
            PluginError: A metric of the user's fails.
        """
        if self._task is None:
            return 1.0
        if self._fp32 is None:
            config = SessionConfig(self._threads)
            original = Session(self._model, config, what="the original")
            self._fp32 = self._scored(original, self._task)
        return self._fp32

    def _original(self) -> Session:
        if self._opened is None:
            config = SessionConfig(self._threads)
            self._opened = Session(self._model, config, what="the original")
        return self._opened

    def _samples(self) -> Iterable[Sample]:
        if self._source.rewinds:
            return self._source
        if self._held is None:
            # The arrays may be filled anew for the next sample.
            self._held = [{n: a.copy() for n, a in sample.items()} for sample in self._source]
        return self._held

    def _scored(self, session: Session, task: Metric) -> float:
        answers = reduced_answers(task, self._source, session, samples=self._samples())
        return task_score(task, self._source, answers)


def open_evaluation(model: ir.Model, options: Options) -> Evaluation | None:
    """The evaluation that the options ask for, if they do."""
    if options.evaluation is None:
        return None
    return Evaluation(options.evaluation, options.metric, model, threads=options.threads)


def _holds_scores(dtype: ir.DataType | None) -> bool:
    return dtype is None or dtype.is_floating_point()


def _without_labels(model: ir.Model) -> str:
    """The metric that says most where nobody named one."""
    # Integers beside scores are not looked at; alone, signal is the fraction of equal ones.
    types = [output.dtype for output in model.graph.outputs]
    shapes = [o.shape for o, t in zip(model.graph.outputs, types, strict=True) if _holds_scores(t)]
    rows = [s is not None and len(s) in (2, 3) and s[-1] != 1 for s in shapes]
    return "agreement" if rows and all(rows) else "signal"
