"""What was observed of one value: streaming, in constant memory, mergeable to the bit.

All calibrators read the same :class:`Statistics`, so comparing five of them costs one run of the
model. Count, extrema and per-sample records are exact; the histogram has bins 0.8 % wide and
subsamples large tensors, but for their tails (see :mod:`edgeq.calibration.subsampling`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.calibration.channels import ChannelTracker
from edgeq.calibration.contract import StatisticKind
from edgeq.calibration.histogram import BLOCK, BinCounter, Histogram
from edgeq.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.channels import ChannelExtrema, ChannelLayout
    from edgeq.calibration.subsampling import Tails
    from edgeq.types import Array

DEFAULT_LIMIT = 2**15
"""Elements of one array that enter the histogram at most, its tails aside. Measured: counting them
takes 0.1 ms, no longer than finding the extrema of a tensor of a million elements."""

_RECORD = np.dtype(
    [
        ("index", np.int32),
        ("minimum", np.float32),
        ("maximum", np.float32),
        ("sum", np.float64),
    ]
)
_ROW = 1024


@dataclass(frozen=True, eq=False, slots=True)
class SampleView:
    """What was observed sample by sample, ascending by the sample's index. Read-only arrays.

    Attributes:
        indices: Index of each sample that had elements, int32 [samples].
        minima: Exact minimum in the sample, float32 [samples].
        maxima: Exact maximum in the sample, float32 [samples].
        sums: Sum of the sample's elements, float64 [samples], within 1e-6 of the sum of their
            magnitudes; for large values, which the runtime sums in float32, within 1e-4.
    """

    indices: NDArray[np.int32]
    minima: NDArray[np.float32]
    maxima: NDArray[np.float32]
    sums: NDArray[np.float64]


class Statistics:
    """Streaming statistics of one value.

    Args:
        kinds: What to collect beyond the count and the extrema, which are always there.
        limit: Elements of one array that enter the histogram, about; extrema and sums see all.
        layout: Where the channels are, if each is to be watched. An array that does not fit it
            ends that.

    Attributes:
        kinds: As given.
        limit: As given.
        count: Number of elements seen.
    """

    __slots__ = (
        "_bins", "_channels", "_frozen", "_maximum", "_minimum", "_points", "_records", "_used",
        "count", "kinds", "limit",
    )  # fmt: skip

    def __init__(
        self,
        kinds: frozenset[StatisticKind],
        *,
        limit: int = DEFAULT_LIMIT,
        layout: ChannelLayout | None = None,
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit must be positive, not {limit}")
        self.kinds = kinds
        self.limit = limit
        self.count = 0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._records = np.zeros(0, _RECORD)
        self._used = 0
        self._bins = BinCounter(limit)
        self._channels = ChannelTracker(layout)
        self._frozen: Histogram | None = None
        self._points: Histogram | None = None

    def update(self, sample_index: int, array: Array) -> None:
        """Observe the value once more. A value seen repeatedly in one sample (a loop) adds up.

        Args:
            sample_index: Index of the sample in the calibration data, 0 <= index < 2**31.
            array: Any shape, empty allowed; integers, bool, float16 and float64 are taken as
                float32. Not kept.

        Raises:
            CalibrationError: NaN, infinity or a number beyond float32; nothing was added then.
        """
        whole = _as_float32(array)
        flat = whole.ravel()
        if not flat.size:
            return
        with np.errstate(invalid="ignore"):
            # Adding 0.0 turns -0.0 into 0.0, whose order min() would otherwise let through.
            low, high = float(flat.min()) + 0.0, float(flat.max()) + 0.0
        if not (math.isfinite(low) and math.isfinite(high)):
            raise _not_finite(sample_index)
        if StatisticKind.SAMPLE_EXTREMA in self.kinds:
            self._record(sample_index, low, high, _sum(flat))
        if StatisticKind.HISTOGRAM in self.kinds:
            self._bins.add(sample_index, flat, self._channels.within(whole))
        self._channels.see(whole)
        self._include(flat.size, low, high)

    def update_summary(
        self,
        sample_index: int,
        size: int,
        extrema: tuple[float, float],
        total: float,
        part: Array,
        tails: Tails,
        channels: tuple[Array, Array] | None = None,
    ) -> None:
        """Observe an array of which somebody else found what is to know.

        Args:
            sample_index: As for :meth:`update`.
            size: Its number of elements.
            extrema: Its exact minimum and maximum, finite.
            total: The sum of its elements, finite.
            part: Its elements ``[sample_index % stride :: stride]`` in C order, where the stride is
                :func:`~edgeq.calibration.subsampling.stride_in` of index, size and limit.
            tails: Its stretches with the extremes; a side without elements beyond zero may be
                left out.
            channels: Minima and maxima of its channels, float32 [..., channels]; None where they
                are not known.
        """
        if not size:
            return
        low, high = extrema[0] + 0.0, extrema[1] + 0.0
        if StatisticKind.SAMPLE_EXTREMA in self.kinds:
            self._record(sample_index, low, high, total)
        if StatisticKind.HISTOGRAM in self.kinds:
            self._bins.add_part(sample_index, size, _as_float32(part).ravel(), tails)
        if channels is None:
            self._channels.drop()
        else:
            self._channels.include(*(_as_float32(each) for each in channels))
        self._include(size, low, high)

    def update_rows(self, indices: Sequence[int], arrays: Sequence[Array]) -> None:
        """Observe small arrays of equal shape, one a sample, at once.

        To the bit what :meth:`update` would find one after the other.

        Args:
            indices: Of the samples.
            arrays: Of at most ``limit`` elements each.

        Raises:
            CalibrationError: As for :meth:`update`; nothing was added then.
        """
        rows = np.stack([_as_float32(array).ravel() for array in arrays])
        if not rows.size:
            return
        with np.errstate(invalid="ignore"):
            lows, highs = rows.min(axis=1) + np.float32(0), rows.max(axis=1) + np.float32(0)
        finite = np.isfinite(lows) & np.isfinite(highs)
        if not finite.all():
            raise _not_finite(indices[int(np.argmin(finite))])
        if StatisticKind.SAMPLE_EXTREMA in self.kinds:
            totals = _sums(rows)
            for record in zip(indices, lows.tolist(), highs.tolist(), totals, strict=True):
                self._record(*record)
        if StatisticKind.HISTOGRAM in self.kinds:
            self._bins.add_all(rows.ravel())
        if self._channels.layout is not None:
            # Over the samples first: that is one array with the extrema of all.
            shape = np.shape(arrays[0])
            self._channels.see(rows.min(axis=0).reshape(shape))
            self._channels.see(rows.max(axis=0).reshape(shape))
        self._include(rows.size, float(lows.min()), float(highs.max()))

    def _include(self, size: int, low: float, high: float) -> None:
        self._frozen = self._points = None
        self.count += size
        self._minimum = min(self._minimum, low)
        self._maximum = max(self._maximum, high)

    @property
    def minimum(self) -> float:
        """Exact minimum. Raises CalibrationError where no element was seen."""
        self._require_elements()
        return self._minimum

    @property
    def maximum(self) -> float:
        """Exact maximum. Raises CalibrationError where no element was seen."""
        self._require_elements()
        return self._maximum

    @property
    def mean(self) -> float:
        """Mean of all elements; the samples' sums are added without rounding (``math.fsum``).

        Raises:
            CalibrationError: No element was seen, or SAMPLE_EXTREMA was not collected.
        """
        self._require_elements()
        return math.fsum(self.samples.sums.tolist()) / self.count

    @property
    def samples(self) -> SampleView:
        """What was observed sample by sample.

        Raises:
            CalibrationError: SAMPLE_EXTREMA was not collected.
        """
        self._require(StatisticKind.SAMPLE_EXTREMA)
        records = self._sorted_records()
        records.flags.writeable = False
        return SampleView(records["index"], records["minimum"], records["maximum"], records["sum"])

    @property
    def histogram(self) -> Histogram:
        """The histogram of all elements, frozen; later updates do not change it.

        Raises:
            CalibrationError: No element was seen, or HISTOGRAM was not collected.
        """
        self._require(StatisticKind.HISTOGRAM)
        # Kept, as every calibrator asks for it and freezing costs as much as most of them do.
        if self._frozen is None:
            self._frozen = self._bins.histogram(self.minimum, self.maximum)
        return self._frozen

    @property
    def distribution(self) -> Histogram:
        """As :attr:`histogram`, with a bin without width for each number where they are few.

        Bins say little of where in them elements lie: of pictures of 8 bits or of values of few
        elements each number is counted by itself, too.

        Raises:
            CalibrationError: No element was seen, or HISTOGRAM was not collected.
        """
        self._require(StatisticKind.HISTOGRAM)
        if self._points is None:
            points = self._bins.points(self.minimum, self.maximum)
            self._points = self.histogram if points is None else points
        return self._points

    @property
    def channels(self) -> ChannelExtrema | None:
        """Exact extrema of each channel.

        None where the model does not say which axis counts channels and how many there are, where
        an array did not have that many, and where nothing was seen.
        """
        return self._channels.extrema()

    def merge(self, other: Statistics) -> Statistics:
        """New statistics of the samples of both; exact, so the order of merges does not matter.

        Raises:
            CalibrationError: The two collected different kinds or with different limits, or a
                sample is in both.
        """
        if (self.kinds, self.limit) != (other.kinds, other.limit):
            raise CalibrationError(
                "statistics of different kinds or limits do not merge",
                remedy="Collect all shards with the same calibrators and options",
            )
        left, right = self._sorted_records(), other._sorted_records()
        twice = np.intersect1d(left["index"], right["index"])
        if twice.size:
            raise CalibrationError(
                f"sample {twice[0]} is in both shards",
                remedy="Merge each shard once, and give every sample its own index",
            )
        merged = Statistics(self.kinds, limit=self.limit)
        merged.count = self.count + other.count
        merged._minimum = min(self._minimum, other._minimum)
        merged._maximum = max(self._maximum, other._maximum)
        merged._records = np.concatenate([left, right])
        merged._used = merged._records.size
        merged._bins = self._bins.merge(other._bins)
        merged._channels = self._channels.merge(other._channels)
        return merged

    def to_arrays(self) -> dict[str, Array]:
        """All of it as arrays for ``numpy.savez``; equal statistics give equal bytes.

        Returns:
            ``kinds`` str [kinds], ``limit`` and ``count`` int64 [], ``extrema`` float64 [2],
            ``sample_index`` int32, ``sample_minimum`` and ``sample_maximum`` float32 and
            ``sample_sum`` float64 [samples], ``block`` int64 [blocks], ``counts`` int64
            [blocks, 128], ``numbers_known`` bool [], ``number`` uint32 (the bits of a float32) and
            ``number_count`` int64 [numbers] (empty where not known), ``channel_axis`` (-1: not
            watched) and ``channel_rank`` int64 [], ``channel_minimum`` and ``channel_maximum``
            float32 [channels].
        """
        records = self._sorted_records()
        block, counts = self._bins.blocks()
        arrays: dict[str, NDArray[Any]] = {
            "kinds": np.array(sorted(kind.value for kind in self.kinds), np.str_),
            "limit": np.array(self.limit, np.int64),
            "count": np.array(self.count, np.int64),
            "extrema": np.array([self._minimum, self._maximum], np.float64),
            "block": block,
            "counts": counts,
        }
        arrays |= {f"sample_{name}": records[name].copy() for name in _RECORD.names or ()}
        known = self._bins.known()
        arrays["numbers_known"] = np.array(known is not None)
        arrays["number"], arrays["number_count"] = known or (
            np.zeros(0, np.uint32),
            np.zeros(0, np.int64),
        )
        arrays |= self._channels.to_arrays()
        return cast("dict[str, Array]", arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Statistics:
        """The inverse of :meth:`to_arrays`.

        Raises:
            CalibrationError: An array is missing or does not fit the others.
        """
        try:
            return cls._from_arrays(arrays)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise CalibrationError(
                f"stored statistics are damaged ({error})", remedy="Calibrate again"
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, Array]) -> Statistics:
        kinds = frozenset(StatisticKind(str(kind)) for kind in arrays["kinds"])
        made = cls(kinds, limit=int(arrays["limit"]))
        made.count = int(arrays["count"])
        low, high = (float(bound) for bound in arrays["extrema"])
        if made.count < 0 or (made.count and not -math.inf < low <= high < math.inf):
            raise ValueError("count or extrema out of range")
        made._minimum, made._maximum = low, high
        made._records = np.zeros(arrays["sample_index"].size, _RECORD)
        made._used = made._records.size
        for name in _RECORD.names or ():
            made._records[name] = arrays[f"sample_{name}"]
        block, counts = arrays["block"], arrays["counts"]
        if counts.shape != (block.size, BLOCK) or np.unique(block).size != block.size:
            raise ValueError("histogram blocks do not fit")
        if block.size and not (block.min() >= 0 and block.max() < 512 and counts.min() >= 0):
            raise ValueError("histogram blocks out of range")
        known = None
        if arrays.get("numbers_known"):  # not before version 3
            known = (arrays["number"], arrays["number_count"])
        made._bins = BinCounter.from_blocks(made.limit, block, counts, known)
        if "channel_axis" in arrays:  # tables of version 1 have none
            made._channels = ChannelTracker.from_arrays(arrays, (low, high))
        return made

    def _record(self, index: int, low: float, high: float, total: float) -> None:
        if not 0 <= index < 2**31:
            raise CalibrationError(f"sample index {index} is not in [0, 2**31)")
        if self._used and self._records[self._used - 1]["index"] == index:
            last = self._records[self._used - 1]
            low, high = min(low, float(last["minimum"])), max(high, float(last["maximum"]))
            self._records[self._used - 1] = (index, low, high, total + float(last["sum"]))
            return
        if self._used == self._records.size:
            grown = np.zeros(max(16, 2 * self._used), _RECORD)
            grown[: self._used] = self._records
            self._records = grown
        self._records[self._used] = (index, low, high, total)
        self._used += 1

    def _sorted_records(self) -> NDArray[np.void]:
        """A copy, ascending by index, one record a sample."""
        records = self._records[: self._used]
        records = records[np.argsort(records["index"], kind="stable")]
        index, starts = np.unique(records["index"], return_index=True)
        if index.size == records.size:
            return records
        combined = np.zeros(index.size, _RECORD)
        combined["index"] = index
        combined["minimum"] = np.minimum.reduceat(records["minimum"], starts)
        combined["maximum"] = np.maximum.reduceat(records["maximum"], starts)
        groups = np.split(records["sum"], starts[1:])
        combined["sum"] = [math.fsum(group.tolist()) for group in groups]
        return combined

    def _require(self, kind: StatisticKind) -> None:
        if kind not in self.kinds:
            raise CalibrationError(
                f"the {kind.value} statistics were not collected",
                remedy=f"Name StatisticKind.{kind.name} in the calibrator's 'requires'",
            )

    def _require_elements(self) -> None:
        if not self.count:
            raise CalibrationError(
                "no element was observed", remedy="Give samples for which the value is computed"
            )


def _not_finite(sample_index: int) -> CalibrationError:
    return CalibrationError(
        f"sample {sample_index} makes NaN, infinity or a number beyond float32",
        remedy="Check the sample and its preprocessing, or exclude the node",
    )


def _as_float32(array: Array) -> NDArray[np.float32]:
    given = np.asarray(array)
    if given.dtype == np.float32 and given.flags.c_contiguous:
        return cast("NDArray[np.float32]", given)
    if given.dtype.kind not in "biufV":  # V: bfloat16 and float8 of ml_dtypes
        raise CalibrationError(f"a value of type {given.dtype} has no range")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(given, dtype=np.float32)


def _sum(flat: NDArray[np.float32]) -> float:
    return _sums(flat[None, :])[0]


def _sums(rows: NDArray[np.float32]) -> list[float]:
    """Sum of each row in float64 of float32 sums of short stretches: twice as fast as float64.

    A stretch of 1024 is added pairwise, so its error is below 16 float32 roundings of the sum of
    its magnitudes (Higham, "The accuracy of floating point summation", 1993): 1e-6.
    """
    whole = rows.shape[1] - rows.shape[1] % _ROW
    with np.errstate(over="ignore", invalid="ignore"):
        stretches = rows[:, :whole].reshape(rows.shape[0], -1, _ROW).sum(axis=2)
        totals = stretches.astype(np.float64).sum(axis=1)
    totals += rows[:, whole:].astype(np.float64).sum(axis=1)
    return [
        total if math.isfinite(total) else float(row.sum(dtype=np.float64))
        for total, row in zip(totals.tolist(), rows, strict=True)
    ]
