"""How much a score hangs on the samples that happen to be there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_RESAMPLED: Final = 1000
"""Data sets that are drawn: the ends of the interval then move by a tenth of its width at most."""

_INSIDE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the score of another data set of that size would lie, 95 times of 100.

    Attributes:
        low: The lower end.
        high: The upper end.
    """

    low: float
    high: float


def resampled(score: Callable[[list[int]], float], samples: int, seed: int = 0) -> Interval:
    """The percentile bootstrap (Efron 1979): scores of data sets drawn from the samples.

    Args:
        score: The score of the samples of these numbers; one may occur several times.
        samples: How many there are.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    found = [score(generator.integers(0, samples, samples).tolist()) for _ in range(_RESAMPLED)]
    edge = (1.0 - _INSIDE) / 2.0
    low, high = np.quantile(np.asarray(found), [edge, 1.0 - edge])
    return Interval(float(low), float(high))
