"""Latency of two models, taken in turn in one process so that both see the same machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.runtime.session import Session
    from edgeq.types import Sample

_WARM_UP = 2

_PATIENCE, _LEAST_ROUNDS = 4, 3
"""Rounds that are enough once so many times the seconds are over: a run of a second outlasts what
interrupts it, as many short ones do together."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one run."""

    median_ms: float
    p25_ms: float
    p75_ms: float


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """Two models timed in turn.

    Attributes:
        threads: Threads inside an operator.
        fp32: The reference.
        candidate: The model that is judged.
        speedup: Median over the rounds of reference time / candidate time.
        rounds: How many rounds were taken.
    """

    threads: int
    fp32: Timing
    candidate: Timing
    speedup: float
    rounds: int


def compare_latency(
    reference: Session,
    candidate: Session,
    samples: Sequence[Sample],
    *,
    threads: int,
    min_rounds: int = 5,
    max_rounds: int = 50,
    seconds: float = 3.0,
) -> LatencyComparison:
    """Time both models on the same samples, one run each a round, in alternating order.

    Args:
        reference: Opened with ``threads`` threads.
        candidate: Opened alike.
        samples: At least one; used in turn.
        threads: For the record.
        min_rounds: Rounds taken at least; of models that run for long fewer, but three.
        max_rounds: Rounds taken at most.
        seconds: No new round begins after this time.

    Returns:
        Medians, quartiles, and the median of the ratios round by round.
    """
    for sample in samples[:_WARM_UP]:
        reference.run(sample)
        candidate.run(sample)
    times: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(times) < max_rounds:
        if is_enough(len(times), time.perf_counter() - start, min_rounds, seconds):
            break
        sample = samples[len(times) % len(samples)]
        if len(times) % 2:
            second = _time(candidate, sample)
            times.append((_time(reference, sample), second))
        else:
            times.append((_time(reference, sample), _time(candidate, sample)))
    table = np.array(times) * 1e3
    return LatencyComparison(
        threads=threads,
        fp32=_timing(table[:, 0]),
        candidate=_timing(table[:, 1]),
        speedup=float(np.median(table[:, 0] / table[:, 1])),
        rounds=len(times),
    )


def is_enough(rounds: int, spent: float, min_rounds: int, seconds: float) -> bool:
    """Whether so many rounds, which took ``spent`` of the seconds meant for them, tell enough."""
    if spent > _PATIENCE * seconds:
        return rounds >= min(min_rounds, _LEAST_ROUNDS)
    return rounds >= min_rounds and spent > seconds


def _time(session: Session, sample: Sample) -> float:
    start = time.perf_counter()
    session.run(sample)
    return time.perf_counter() - start


def _timing(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Timing:
    p25, median, p75 = np.percentile(column, (25, 50, 75))
    return Timing(float(median), float(p25), float(p75))
