"""The statistics of many values while they grow, taken in behind the back of the running model."""

from __future__ import annotations

import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.statistics import DEFAULT_LIMIT, Statistics
from edgeq.calibration.subsampling import counted_whole
from edgeq.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeq.calibration.channels import ChannelLayout
    from edgeq.calibration.contract import StatisticKind
    from edgeq.calibration.inner_values import Summary
    from edgeq.types import Array

_ROWS = 64
"""Small arrays of one value that wait to be taken in at once: a call of numpy costs a microsecond
however small its array, and each array needs twenty."""

_WAITING = DEFAULT_LIMIT
"""Elements of one value that wait at most."""


class Observed:
    """Statistics of values, of which those drop out that are not finite numbers.

    Args:
        names: The values.
        kinds: What to collect.
        layouts: Where the channels of values are; those of others are not watched.
    """

    def __init__(
        self,
        names: Iterable[str],
        kinds: frozenset[StatisticKind],
        layouts: Mapping[str, ChannelLayout] | None = None,
    ) -> None:
        known = layouts or {}
        self._statistics = {name: Statistics(kinds, layout=known.get(name)) for name in names}
        self._infinite: set[str] = set()
        self._waiting: dict[str, list[tuple[int, Array]]] = {}

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """By value; what is not finite is missing."""
        return self._statistics

    @property
    def infinite(self) -> set[str]:
        """Values that were NaN or infinite in some sample."""
        return self._infinite

    def see(
        self, index: int, arrays: Mapping[str, Array], summaries: Mapping[str, Summary]
    ) -> None:
        """Take in the values of one sample.

        Args:
            index: Of the sample.
            arrays: Values by name; nobody may write to them any more.
            summaries: Further values.
        """
        for name, array in arrays.items():
            if array.size <= counted_whole(DEFAULT_LIMIT) and array.dtype == np.float32:
                self._wait(name, index, array)
            else:
                self._guarded(name, lambda n=name, a=array: self._statistics[n].update(index, a))  # type: ignore[misc]
        for name, found in summaries.items():
            if name not in self._infinite:
                extrema = found.extrema if found.size else (0.0, 0.0)
                self._statistics[name].update_summary(
                    index,
                    found.size,
                    extrema,
                    found.total,
                    found.part,
                    found.tails,
                    found.channels,
                )

    def settle(self) -> None:
        """Take in what waits."""
        for name in self._waiting:
            self._take_in(name)

    def _wait(self, name: str, index: int, array: Array) -> None:
        waiting = self._waiting.setdefault(name, [])
        if waiting and waiting[0][1].shape != array.shape:
            self._take_in(name)
        waiting.append((index, array))
        if len(waiting) >= _ROWS or len(waiting) * array.size >= _WAITING:
            self._take_in(name)

    def _take_in(self, name: str) -> None:
        waiting = self._waiting[name]
        if waiting:
            indices, arrays = zip(*waiting, strict=True)
            waiting.clear()
            self._guarded(name, lambda: self._statistics[name].update_rows(indices, arrays))

    def _guarded(self, name: str, update: Callable[[], None]) -> None:
        if name in self._infinite:
            return
        try:
            update()
        except CalibrationError:
            self._infinite.add(name)
            del self._statistics[name]


class Behind:
    """Does jobs in their order in a thread of its own, one job behind the caller at most.

    What a job raises is raised at the next call.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeq-statistics")
        weakref.finalize(self, self._pool.shutdown, wait=False)
        self._last: Future[None] | None = None

    def do(self, job: Callable[[], None]) -> None:
        """Have a job done; waits for the one before it."""
        self.wait()
        self._last = self._pool.submit(job)

    def wait(self) -> None:
        """Until all is done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
