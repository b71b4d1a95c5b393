"""Which numbers a value takes, and how often, as long as they are few.

Pictures of 8 bits take 256 numbers however many elements there are, and values of few elements take
as many as those. Where inside its bin an element lies then matters: a range whose steps meet the
grid of a picture loses nothing at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2**13
"""Numbers of one value that are known at most. Beyond it the least squared error, which adds up
over the elements, tells little of where in its bin each of them lies."""

_TOGETHER = 2**15
_BUCKETS = 16
"""Bits of a hash: as many buckets as eight times :data:`MOST`, so that few numbers share one."""

_FACTOR = np.uint32(0x9E3779B1)  # Knuth, "The Art of Computer Programming" 6.4: golden ratio


class NumberCounter:
    """Counts each number by itself, and gives up for good once there are more than :data:`MOST`.

    Whether it gives up depends on the numbers alone, not on their order nor on who counted which:
    counters merge exactly.
    """

    __slots__ = ("_counts", "_keys", "_pending", "_pending_size", "_unknown")

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.uint32)
        self._counts = np.zeros(0, np.int64)
        self._pending: list[tuple[NDArray[np.uint32], int]] = []
        self._pending_size = 0
        self._unknown = False

    def give_up(self) -> None:
        """Count no more."""
        self.__init__()  # type: ignore[misc]
        self._unknown = True

    def add(self, values: NDArray[np.float32], weight: int) -> None:
        """Count elements.

        Args:
            values: Finite float32, one dimension.
            weight: What each counts; negative ones are taken back, of those there are.
        """
        if self._unknown:
            return
        # Copied: the caller's array may be a window on a large one.
        self._pending.append((np.array(values).view(np.uint32), weight))
        self._pending_size += values.size
        if self._pending_size >= _TOGETHER:
            self._flush()

    def merge(self, other: NumberCounter) -> NumberCounter:
        """A new counter with the counts of both."""
        merged = NumberCounter()
        for part in (self, other):
            merged._include(part)
        return merged

    def _include(self, other: NumberCounter) -> None:
        found = other.known()
        if found is None:
            self.give_up()
        elif not self._unknown:
            keys, counts = found
            self._combine(
                np.concatenate([self._keys, keys]), np.concatenate([self._counts, counts])
            )

    def known(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
        """The numbers by their bits as float32, ascending, and their counts; None if too many."""
        self._flush()
        return None if self._unknown else (self._keys, self._counts)

    @classmethod
    def of(cls, keys: NDArray[Any], counts: NDArray[Any]) -> NumberCounter:
        """The inverse of :meth:`known`.

        Raises:
            ValueError: There is no such counter.
        """
        if keys.shape != counts.shape or keys.ndim != 1 or keys.size > MOST:
            raise ValueError("numbers and their counts do not fit")
        made = cls()
        made._keys, made._counts = keys.astype(np.uint32), counts.astype(np.int64)
        if np.any(made._keys[1:] <= made._keys[:-1]) or np.any(made._counts < 0):
            raise ValueError("numbers out of order, or counted less than not at all")
        if not np.isfinite(made._keys.view(np.float32)).all():
            raise ValueError("numbers that are not finite")
        return made

    def points(
        self, minimum: float, maximum: float
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """The numbers, float64, ascending, and how often each occurs; None if they are too many.

        Args:
            minimum: Exact minimum, which counts once where nobody counted it.
            maximum: Exact maximum.
        """
        found = self.known()
        if found is None:
            return None
        keys, counts = found
        ends = np.array([minimum, maximum], np.float64)
        values = np.concatenate([keys.view(np.float32).astype(np.float64), ends])
        order, place = np.unique(values + 0.0, return_inverse=True)
        every = np.zeros(order.size, np.int64)
        np.add.at(every, place[:-2], counts)
        every[[0, -1]] = np.maximum(every[[0, -1]], 1)
        return order[every > 0], every[every > 0]

    def _flush(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        if not pending:
            return
        if any(_many(keys) for keys, _ in pending) or _many(
            np.concatenate([keys for keys, _ in pending])
        ):
            self.give_up()
            return
        keys, counts = [self._keys], [self._counts]
        for part, weight in pending:
            found, times = np.unique(part, return_counts=True)
            keys.append(found)
            counts.append(times * weight)
        self._combine(np.concatenate(keys), np.concatenate(counts))

    def _combine(self, keys: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        found, place = np.unique(keys, return_inverse=True)
        if found.size > MOST:
            self.give_up()
            return
        self._keys, self._counts = found, np.zeros(found.size, np.int64)
        np.add.at(self._counts, place, counts)


def _many(keys: NDArray[np.uint32]) -> bool:
    """Whether there are surely too many numbers; a twentieth of the time that sorting takes."""
    if keys.size <= MOST:
        return False
    seen = np.zeros(2**_BUCKETS, np.bool_)
    seen[(keys * _FACTOR) >> np.uint32(32 - _BUCKETS)] = True
    return int(np.count_nonzero(seen)) > MOST
