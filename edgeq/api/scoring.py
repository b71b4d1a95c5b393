"""One model, a metric and data: how good it is, and how sure that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.api.measuring import input_specs, reduced_answers, task_score
from edgeq.calibration.sources import open_source
from edgeq.calibration.sources.text import with_tokenizer
from edgeq.errors import RecipeError
from edgeq.graph import loader
from edgeq.metrics.confidence import Interval, resampled
from edgeq.metrics.named import load_metric
from edgeq.metrics.relative import relative_metric
from edgeq.progress import Silent
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.metrics.named import Metric
    from edgeq.progress import Progress
    from edgeq.types import Array

_FEWEST = 2
"""Samples from which an interval can be drawn."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The score of a model.

    Attributes:
        path: The model's file; None for a model in memory.
        sha256: Hash of the file and its external data.
        metric: The metric.
        value: The score.
        higher_is_better: Which way is better.
        interval: Where the score of another data set of that size would lie; None for metrics
            that are not edgeq's own, which may take long.
        samples: Samples that were run.
        seconds: Time inside the runs.
        data: Where the samples came from.
    """

    path: Path | None
    sha256: str
    metric: str
    value: float
    higher_is_better: bool
    interval: Interval | None
    samples: int
    seconds: float
    data: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return {
            "schema": 1,
            "model": {
                "path": None if self.path is None else str(self.path),
                "sha256": self.sha256,
            },
            "metric": {
                "name": self.metric,
                "value": self.value,
                "higher_is_better": self.higher_is_better,
                **({} if self.interval is None else {"low": self.interval.low}),
                **({} if self.interval is None else {"high": self.interval.high}),
            },
            "samples": self.samples,
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    model: object,
    data: object,
    metric: str,
    *,
    tokenizer: str | Path | None = None,
    window: int | None = None,
    max_samples: int | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Evaluated:
    """Run a model over labelled data and score what it answers.

    Args:
        model: Anything :func:`edgeq.quantize` takes, quantized or not.
        data: Samples, as for calibration; with labels where the metric needs them.
        metric: Name or reference of a task metric, ``perplexity`` among them.
        tokenizer: File that turns text into tokens, where the data is a text file; None for
            ``tokenizer.json`` beside the model.
        window: Tokens of a sample of text.
        max_samples: Samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Raises:
        RecipeError: There is no such metric, or it compares two models.
        DataError: The data does not fit the model or the metric.
        PluginError: A metric of the user's fails.
    """
    if relative_metric(metric) is not None:
        raise RecipeError(
            f"{metric} compares two models",
            where="--metric",
            remedy="edgeq validate REFERENCE CANDIDATE --metric does that",
        )
    (data,) = with_tokenizer((data,), model, tokenizer, window)
    task, listener = load_metric(metric), progress or Silent()
    listener.stage("load")
    loaded = loader.load(model)
    source = open_source(data, input_specs(loaded.model), max_samples=max_samples)
    session = Session(loaded.model, SessionConfig(threads))
    listener.stage("evaluate")
    start = time.perf_counter()
    answers = reduced_answers(task, source, session, listener.samples)
    seconds = time.perf_counter() - start
    return Evaluated(
        loaded.path, loaded.sha256, task.name, task_score(task, source, answers),
        task.higher_is_better, _interval(task, dict(source.labels), answers), len(answers),
        seconds, source.description,
    )  # fmt: skip


def _interval(
    task: Metric, labels: dict[str, Array], answers: list[dict[str, Array]]
) -> Interval | None:
    if not task.resamples or len(answers) < _FEWEST:
        return None

    def score(chosen: list[int]) -> float:
        rows = np.asarray(chosen)
        drawn = {name: array[rows] for name, array in labels.items()}
        return task([answers[i] for i in chosen], drawn)

    return resampled(score, len(answers))
