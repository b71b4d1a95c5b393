"""Measurements that quantizing and validating share: latency, coverage, task metric."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.sources import InputSpec
from edgeq.errors import DataError, EdgeqError
from edgeq.runtime.latency import compare_latency
from edgeq.runtime.paired import Comparison
from edgeq.runtime.profile import profile
from edgeq.runtime.session import Session, SessionConfig
from edgeq.tuning.costs import node_times
from edgeq.validation.diagnosis import NOTHING_FOUND, Diagnosis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.sources import SampleSource
    from edgeq.metrics import Fidelity, Metric
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.runtime.profile import NodeTime
    from edgeq.types import Array, Sample
    from edgeq.validation.coverage import Coverage
    from edgeq.validation.verdict import Score

_LATENCY_SAMPLES = 4
_RECORDED_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What running a candidate beside its original showed; empty where nobody asked.

    Attributes:
        outputs: Closeness per output.
        coverage: What runs in integers.
        diagnosis: Where accuracy is lost, and why.
        latency: One comparison per thread count.
        times: Profile of a candidate that is slower than its original.
        metric: Task score of both.
    """

    outputs: Mapping[str, Fidelity]
    coverage: Coverage | None = None
    diagnosis: Diagnosis = NOTHING_FOUND
    latency: tuple[LatencyComparison, ...] = ()
    times: tuple[NodeTime, ...] = ()
    metric: Score | None = None


def look_for_causes(
    find: Callable[[], Diagnosis],
) -> Diagnosis:
    """Where accuracy is lost; a failure to find out is no reason to hand over nothing.

    Args:
        find: Compares two models.
    """
    try:
        return find()
    except EdgeqError as error:
        return replace(NOTHING_FOUND, note=f"Layers were not compared: {error.what}")


def input_specs(model: ir.Model) -> list[InputSpec]:
    """What the model must be fed with; inputs with a default value need not be."""
    specs = []
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        shape = None
        if value.shape is not None:
            dims = [d if isinstance(d, int) else d.value for d in value.shape]
            # Some exporters write -1 or 0 for a dimension that varies.
            shape = tuple(None if isinstance(d, int) and d <= 0 else d for d in dims)
        specs.append(InputSpec(value.name or "", np.dtype(dtype), shape))
    return specs


def recorded(model: ir.Model, config: SessionConfig, samples: Iterable[Sample]) -> KeptSamples:
    """What a model answers to samples; the session is closed before any other is opened.

    Args:
        model: The original.
        config: How to open it.
        samples: What to run it on.

    Returns:
        The outputs that are arrays, one dict a sample, spooled to disk beyond 16 MB.
    """
    session = Session(model, config, what="the original")
    answers = KeptSamples(limit=sys.maxsize, memory=_RECORDED_BYTES)
    for place, sample in enumerate(samples):
        answer = session.run(sample)
        answers.offer(place, {n: a for n, a in answer.items() if isinstance(a, np.ndarray)})
    return answers


def compared(
    answers: KeptSamples, candidate: Session, samples: Iterable[Sample]
) -> dict[str, Fidelity]:
    """Closeness of a candidate to answers that :func:`recorded` gave to the same samples."""
    comparison: Comparison | None = None
    for answer, sample in zip(answers, samples, strict=True):
        comparison = comparison or Comparison({name: (name, name) for name in answer})
        comparison.add(answer, candidate, sample)
    return {} if comparison is None else comparison.result()


def thread_counts(threads: int) -> tuple[int, ...]:
    """The thread counts to time: the one asked for, or one and all that there are."""
    if threads:
        return (threads,)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return (1,) if available == 1 else (1, available)


def measure_latency(
    reference: ir.Model,
    candidate: ir.Model,
    samples: Sequence[Sample],
    threads: int,
    entries: Mapping[str, str],
) -> tuple[LatencyComparison, ...]:
    """Time both models in turn, once per thread count."""
    found = []
    for count in thread_counts(threads):
        left = Session(reference, SessionConfig(count), what="the original")
        right = Session(candidate, SessionConfig(count, entries=entries), what="the candidate")
        few = list(samples[:_LATENCY_SAMPLES])
        found.append(compare_latency(left, right, few, threads=count))
    return tuple(found)


def slow_nodes(
    candidate: ir.Model,
    samples: Sequence[Sample],
    latency: Sequence[LatencyComparison],
    entries: Mapping[str, str],
) -> tuple[NodeTime, ...]:
    """Where the time of a candidate goes that is slower than the original; nothing for others."""
    slow = [comparison for comparison in latency if comparison.speedup < 1.0]
    if not slow:
        return ()
    config = SessionConfig(slow[0].threads, entries=entries)
    return profile(candidate, config, list(samples[:_LATENCY_SAMPLES]))


class Recorded:
    """A session that remembers what it answered, as far as a metric needs it.

    Args:
        session: What runs.
        metric: The metric; without one nothing is kept, and this is the session.
        source: The samples that it runs on in order, for their labels.

    Attributes:
        outputs: Names of the outputs.
        answers: One dict a run, in order.
    """

    def __init__(self, session: Session, metric: Metric | None, source: SampleSource) -> None:
        self._session = session
        self._metric = metric
        self._source = source
        self.outputs: tuple[str, ...] = session.outputs
        self.answers: list[dict[str, Array]] = []

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """As :meth:`Session.run`."""
        answer = self._session.run(sample, outputs)
        if self._metric is not None:
            place = len(self.answers)
            self.answers.append(_reduced(self._metric, self._source, place, sample, answer))
        return answer


def _reduced(
    metric: Metric, source: SampleSource, place: int, sample: Sample, answer: dict[str, Array]
) -> dict[str, Array]:
    if metric.reduce is None:
        return answer
    own = {name: array[place] for name, array in source.labels.items()}
    return metric.reduce(answer, dict(sample), own)


def reduced_answers(
    metric: Metric,
    source: SampleSource,
    session: Session,
    progress: Callable[[int, int | None], None] | None = None,
    samples: Iterable[Sample] | None = None,
) -> list[dict[str, Array]]:
    """What a model answers to data, as far as a metric needs it.

    Args:
        metric: The metric; the logits of a language model are reduced to the loss of each token.
        source: The samples, and their labels.
        session: The model.
        progress: Called with the samples done, and how many there are.
        samples: The samples of ``source``, where they are held in memory.
    """
    answers = []
    total = source.length_hint()
    for index, sample in enumerate(source if samples is None else samples):
        answers.append(_reduced(metric, source, index, sample, session.run(sample)))
        if progress is not None:
            progress(index + 1, total)
    return answers


def task_score(metric: Metric, source: SampleSource, answers: list[dict[str, Array]]) -> float:
    """Score what a model answered to labelled data.

    Args:
        metric: The metric.
        source: The samples that the model has run on, for their labels.
        answers: One dict of outputs a sample, in order.

    Raises:
        DataError: The data has no labels.
        PluginError: A metric of the user's fails.
    """
    labels: Mapping[str, Array] = dict(source.labels)
    if not labels and metric.needs_labels:
        raise DataError(
            f"metric {metric.name} needs labels, and the evaluation data has none",
            where=source.description,
            remedy="Add label_* arrays to the .npz, a labels.csv, or one folder a class; or "
            "use agreement, cosine or signal, which need none",
        )
    return metric(answers, dict(labels))


def time_shares(model: ir.Model, samples: Sequence[Sample], threads: int) -> dict[str, float]:
    """The part, 0 to 1, of the running time that each node of a model takes."""
    times = node_times(model, profile(model, SessionConfig(threads), samples))
    total = sum(times.values()) or 1.0
    return {name: time / total for name, time in times.items()}
