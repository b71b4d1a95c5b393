"""A histogram with logarithmic bins that are cut from the bits of float32.

The upper 16 bits of a float32 (sign, 8 exponent bits, 7 leading mantissa bits) are its bin. So a
bin is at most 2**-7 (0.8 %) of its value wide, no range has to be known beforehand, and one pass
over the data is enough. Below 2**-126 (subnormal numbers) bins are 2**-133 wide instead.

Bins are allocated in blocks of 128, one block for each sign and exponent that occurs: a typical
activation needs 40 blocks of 1 KiB.

Of a large array an evenly spaced part is counted, each element for all those that its stride
skipped; and its tails element by element: see :mod:`edgeq.calibration.subsampling`.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.numbers import NumberCounter
from edgeq.calibration.subsampling import Tails, stride_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 128
"""Bins of one block: one sign and exponent, 7 mantissa bits."""

_BLOCKS = 512
_FEW = 2**13
"""Keys up to which sorting them is faster than counting over all bins there are."""

_SIGN = 0x8000
_FLOAT, _BITS = struct.Struct("=f"), struct.Struct("=I")
_SMALLEST_NORMAL = 2.0**-126
_HALVES = np.dtype(
    {
        "names": ["upper"],
        "formats": [np.uint16],
        "offsets": [2 if sys.byteorder == "little" else 0],
        "itemsize": 4,
    }
)
"""A float32 of which one sees the upper 16 bits."""


@dataclass(frozen=True, eq=False, slots=True)
class Histogram:
    """Counts over ascending bins that do not overlap; bins without a count are left out.

    Where every number that occurred is known, bins may have no width, both edges that number.

    A positive bin holds low <= x < high, a negative one low < x <= high, the bin around zero
    (which holds exact zeros) -2**-133 < x < 2**-133. The outermost edges are the exact extrema.

    Attributes:
        edges_low: Lower edges, float64 [bins], in the unit of the value.
        edges_high: Upper edges, float64 [bins].
        counts: Elements in each bin, int64 [bins], all positive. Where tensors were subsampled,
            an element that was counted stands for all those that its stride skipped; those in
            the tails stand for themselves.
        total: Sum of the counts.
    """

    edges_low: NDArray[np.float64]
    edges_high: NDArray[np.float64]
    counts: NDArray[np.int64]
    total: int

    def quantile(self, q: float) -> float:
        """The value that a fraction of the elements does not exceed.

        Falls into the same bin as the exact quantile (inverse of the empirical distribution
        function), hence lies within 0.8 % of it; inside the bin elements count as evenly spread.

        Args:
            q: Fraction in [0, 1].

        Returns:
            The quantile, in the unit of the value.

        Raises:
            ValueError: ``q`` is not a fraction.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile needs a fraction in [0, 1], not {q}")
        ends = np.cumsum(self.counts)
        rank = q * self.total
        k = min(int(np.searchsorted(ends, rank, side="left")), ends.size - 1)
        if self.edges_low[k] <= 0.0 <= self.edges_high[k]:
            return 0.0  # the zeros of a Relu stay zeros
        inside = 1.0 - (float(ends[k]) - rank) / float(self.counts[k])
        low, high = float(self.edges_low[k]), float(self.edges_high[k])
        return min(max(low + inside * (high - low), low), high)


class BinCounter:
    """Counts elements into logarithmic bins; the growing side of :class:`Histogram`.

    Args:
        limit: Elements of one array that are counted, about; see
            :func:`~edgeq.calibration.subsampling.stride_in`.
    """

    __slots__ = ("_counts", "_numbers", "_pending", "_pending_size", "_slots", "_used", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._slots = np.full(_BLOCKS, -1, np.int16)
        self._counts = np.zeros((0, BLOCK), np.int64)
        self._used = 0
        self._pending: dict[int, list[NDArray[np.uint16]]] = {}
        self._pending_size = 0
        self._numbers = NumberCounter()

    def add(
        self, sample_index: int, values: NDArray[np.float32], within: int | None = None
    ) -> None:
        """Count an array, subsampled if it is larger than the limit.

        Keys wait in a buffer of at most ``6 * limit`` 2-byte entries, because a flush costs
        a hundred microseconds however few keys it counts.

        Args:
            sample_index: Shifts the first element that is counted, so that no position of the
                tensor is skipped in every sample.
            values: Finite float32, C-contiguous, one dimension, not empty.
            within: As for :func:`~edgeq.calibration.subsampling.stretches`.
        """
        stride = stride_in(sample_index, values.size, self.limit)
        if stride == 1:
            self._count(values, 1)
            return
        tails = Tails.of(values, self.limit, within)
        self.add_part(sample_index, values.size, values[sample_index % stride :: stride], tails)

    def add_part(
        self, sample_index: int, size: int, part: NDArray[np.float32], tails: Tails
    ) -> None:
        """Count an array of which somebody else took what :meth:`add` would count.

        Args:
            sample_index: As for :meth:`add`.
            size: Elements of the whole array, at least 1.
            part: The evenly spaced ones: finite float32, one dimension.
            tails: As :meth:`Tails.of` finds them; either side may be left out where it is empty,
                and both where the part is the whole array.
        """
        stride = stride_in(sample_index, size, self.limit)
        self._count(part, stride)
        if stride == 1:
            return
        if tails.above.size:
            bound = _beyond(float(tails.maxima.min()))
            self._count(_where(part, part >= bound), -stride)
            self._count(_where(tails.above, tails.above >= bound), 1)
        if tails.below.size:
            bound = -_beyond(-float(tails.minima.max()))
            self._count(_where(part, part <= bound), -stride)
            self._count(_where(tails.below, tails.below <= bound), 1)

    def add_all(self, values: NDArray[np.float32]) -> None:
        """Count arrays of at most ``limit`` elements each, laid one behind the other."""
        self._count(values, 1)

    def _count(self, values: NDArray[np.float32], weight: int) -> None:
        if not values.size:
            return
        self._numbers.add(values, weight)
        # Copied: the caller's array may be a window on a large one.
        keys = np.array(values.view(_HALVES)["upper"])
        self._pending.setdefault(weight, []).append(keys)
        self._pending_size += keys.size
        if self._pending_size >= 4 * self.limit:
            self._flush()

    def merge(self, other: BinCounter) -> BinCounter:
        """A new counter with the counts of both. Integers: exact in any order."""
        merged = BinCounter(self.limit)
        for part in (self, other):
            merged._add_blocks(*part.blocks())
        merged._numbers = self._numbers.merge(other._numbers)
        return merged

    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Block numbers, ascending, int64 [blocks]; and a copy of the counts, int64 [blocks, 128].

        A block's number is the upper 9 bits of the floats that it counts.
        """
        self._flush()
        numbers = np.flatnonzero(self._slots >= 0).astype(np.int64)
        counts = self._counts[self._slots[numbers]]
        # What was counted with its stride and taken back as part of a tail leaves nothing.
        full = counts.any(axis=1)
        return numbers[full], counts[full]

    @classmethod
    def from_blocks(
        cls,
        limit: int,
        numbers: NDArray[Any],
        counts: NDArray[Any],
        known: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> BinCounter:
        """The inverse of :meth:`blocks` and :meth:`known`.

        Raises:
            ValueError: What is known is in disorder.
        """
        counter = cls(limit)
        if known is None:
            counter._numbers.give_up()
        else:
            counter._numbers = NumberCounter.of(*known)
        counter._add_blocks(numbers.astype(np.int64), counts.astype(np.int64))
        return counter

    def known(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]] | None:
        """The numbers that occurred and their counts, see :meth:`NumberCounter.known`."""
        return self._numbers.known()

    def points(self, minimum: float, maximum: float) -> Histogram | None:
        """A histogram with a bin without width for each number; None if they are too many.

        Args:
            minimum: As for :meth:`histogram`.
            maximum: Likewise.
        """
        found = self._numbers.points(minimum, maximum)
        if found is None:
            return None
        values, counts = found
        for array in found:
            array.flags.writeable = False
        return Histogram(values, values, counts, int(counts.sum()))

    def histogram(self, minimum: float, maximum: float) -> Histogram:
        """Freeze the counts.

        Args:
            minimum: Exact minimum of all elements, those skipped by the stride included.
            maximum: Exact maximum.

        Returns:
            A histogram whose outermost edges are the extrema. An extremum that the stride
            skipped counts once, so that no bin is missing at the ends.
        """
        numbers, blocks = self.blocks()
        keys = (numbers[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        flat = blocks.ravel()
        seen = np.flatnonzero(flat)
        codes, counts = _ascending(keys[seen], flat[seen])
        codes, counts = _with_ends(codes, counts, _keys(np.array([minimum, maximum], np.float32)))
        low, high = (np.clip(edge, minimum, maximum) for edge in _edges(codes))
        for array in (low, high, counts):
            array.flags.writeable = False
        return Histogram(low, high, counts, int(counts.sum()))

    def _flush(self) -> None:
        for weight, waiting in self._pending.items():
            keys = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            if keys.size <= _FEW:
                self._add_keys(keys, weight)
                continue
            # Counting 16-bit integers as such takes three times as long.
            upto = int(keys.max()) // BLOCK + 1  # a half of all where nothing is negative
            dense = np.bincount(keys.astype(np.intp), minlength=upto * BLOCK)
            numbers = np.flatnonzero(np.add.reduceat(dense, np.arange(0, dense.size, BLOCK)))
            self._add_blocks(numbers, dense.reshape(upto, BLOCK)[numbers] * weight)
        self._pending, self._pending_size = {}, 0

    def _add_keys(self, keys: NDArray[np.uint16], weight: int) -> None:
        """Count a few keys."""
        keys = np.sort(keys, kind="stable").astype(np.int64)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(keys)) + 1])
        counts = np.diff(starts, append=keys.size) * weight
        block, place = np.divmod(keys[starts], BLOCK)
        self._allocate(block[np.concatenate([[True], np.diff(block) > 0])])
        self._counts[self._slots[block], place] += counts

    def _add_blocks(self, numbers: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self._allocate(numbers)
        self._counts[self._slots[numbers]] += counts

    def _allocate(self, numbers: NDArray[np.int64]) -> None:
        """Give the blocks of these numbers, each once, a place."""
        new = numbers[self._slots[numbers] < 0]
        if new.size:
            first = self._used
            self._used += new.size
            self._slots[new] = np.arange(first, self._used)
            grown = np.zeros((self._used, BLOCK), np.int64)
            grown[:first] = self._counts
            self._counts = grown


def _where(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The values under a mask, one dimension; of few that is faster than indexing by the mask."""
    return values.ravel().compress(mask.ravel())


def _beyond(bound: float) -> float:
    """Upper edge of the bin of a bound, a normal number.

    Where subnormal numbers are flushed to zero, as a runtime may ask for, zeros would lie beyond a
    subnormal one.
    """
    (bits,) = _BITS.unpack(_FLOAT.pack(max(bound, _SMALLEST_NORMAL)))
    (edge,) = _FLOAT.unpack(_BITS.pack((bits >> 16) + 1 << 16))
    return float(edge)


def _keys(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return (values.view(np.uint32) >> 16).astype(np.int64)


def _ascending(
    keys: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From ascending keys to signed bin numbers that ascend with the value.

    Positive keys are those numbers; negative ones ascend with the magnitude. Both zeros become 0.
    """
    split = int(np.searchsorted(keys, _SIGN))
    codes = np.concatenate([_SIGN - keys[: split - 1 if split else None : -1], keys[:split]])
    counts = np.concatenate([counts[: split - 1 if split else None : -1], counts[:split]])
    twice = np.flatnonzero(np.diff(codes) == 0)
    if twice.size:
        counts[twice] += counts[twice + 1]
        codes, counts = np.delete(codes, twice + 1), np.delete(counts, twice + 1)
    return codes, counts


def _with_ends(
    codes: NDArray[np.int64], counts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """With the bins of the extrema, which count once where the stride skipped them."""
    low, high = (int(key) if key < _SIGN else _SIGN - int(key) for key in ends)
    before = [low] if not codes.size or low < codes[0] else []
    after = [high] if (not codes.size and high > low) or (codes.size and high > codes[-1]) else []
    once = np.ones(1, np.int64)
    return (
        np.concatenate([np.array(before, np.int64), codes, np.array(after, np.int64)]),
        np.concatenate([once[: len(before)], counts, once[: len(after)]]),
    )


def _edges(codes: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    magnitude = np.abs(codes)
    inner = (magnitude.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    outer = ((magnitude + 1).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    low = np.where(codes > 0, inner, -outer)
    high = np.where(codes < 0, -inner, outer)
    return low, high
