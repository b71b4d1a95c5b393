"""What passes over calibration data found, and how the findings of several become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.statistics import Statistics
from edgeq.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.calibration.contract import StatisticKind
    from edgeq.types import IntArray


@dataclass(frozen=True, slots=True)
class Collection:
    """What one pass over the calibration data found.

    Attributes:
        statistics: Per value; a value that no sample computed has a count of 0.
        infinite: Values without statistics, because they were NaN or infinite in some sample: no
            range covers them.
        kept: A seeded sample of the inputs.
        indices: Indices in the calibration data of the samples that were read, ascending, int32
            [samples].
    """

    statistics: Mapping[str, Statistics]
    infinite: frozenset[str]
    kept: KeptSamples
    indices: IntArray

    @classmethod
    def empty(cls, values: Iterable[str], kinds: frozenset[StatisticKind], seed: int) -> Collection:
        """What was found before the first sample."""
        return cls(
            {name: Statistics(kinds) for name in values},
            frozenset(),
            KeptSamples(seed=seed),
            np.zeros(0, np.int32),
        )

    @property
    def samples(self) -> int:
        """How many samples were read."""
        return int(self.indices.size)

    def merge(self, other: Collection) -> Collection:
        """What a single pass over the samples of both would have found, to the bit.

        Exact, so the order of merges does not matter.

        Raises:
            CalibrationError: A sample is in both, or they were collected with other values, kinds,
                limits or seeds.
        """
        twice = np.intersect1d(self.indices, other.indices)
        if twice.size:
            raise CalibrationError(
                f"{twice.size} samples are in both, the first of them is number {twice[0]}",
                remedy="Merge each shard once, and shards of one run only",
            )
        if self._values() != other._values():
            raise CalibrationError(
                f"value {min(self._values() ^ other._values())!r} is in one of the two only",
                remedy="Collect all shards for the same model, target and recipe",
            )
        if not (self.samples and other.samples):
            # Merging copies the kept samples: most runs go on from nothing.
            return self if self.samples else other
        infinite = self.infinite | other.infinite
        return Collection(
            {
                name: found.merge(other.statistics[name])
                for name, found in self.statistics.items()
                if name not in infinite
            },
            infinite,
            self.kept.merge(other.kept),
            np.union1d(self.indices, other.indices).astype(np.int32),
        )

    def _values(self) -> frozenset[str]:
        return self.infinite | self.statistics.keys()
