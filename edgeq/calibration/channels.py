"""Extrema of every channel of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.types import Array


@dataclass(frozen=True, slots=True)
class ChannelLayout:
    """Where the channels of a value are.

    Attributes:
        axis: Their axis, counted from the first.
        rank: Number of axes.
        count: Number of channels.
    """

    axis: int
    rank: int
    count: int

    def fits(self, array: Array) -> bool:
        """Whether an array has its channels there."""
        return array.ndim == self.rank and array.shape[self.axis] == self.count


@dataclass(frozen=True, eq=False, slots=True)
class ChannelExtrema:
    """What was seen of each channel; exact, over all samples and positions.

    Attributes:
        axis: The axis that counts channels, from the first.
        minimum: float32 [channels].
        maximum: float32 [channels].
    """

    axis: int
    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]


def inner_size(shape: Sequence[int], axis: int) -> int | None:
    """Elements of one channel, where they lie behind each other; None for the last axis."""
    return math.prod(shape[axis + 1 :]) if axis + 1 < len(shape) else None


class ChannelTracker:
    """The growing side of :class:`ChannelExtrema`.

    Args:
        layout: Where the channels are. Once a value does not fit it, nothing is kept any more.
    """

    __slots__ = ("_maximum", "_minimum", "layout")

    def __init__(self, layout: ChannelLayout | None) -> None:
        self.layout = layout
        count = 0 if layout is None else layout.count
        self._minimum: NDArray[np.float32] = np.full(count, np.inf, np.float32)
        self._maximum: NDArray[np.float32] = np.full(count, -np.inf, np.float32)

    def see(self, array: NDArray[np.float32]) -> None:
        """Take in an array of finite float32, not empty."""
        layout = self.layout
        if layout is None:
            return
        if not layout.fits(array):
            self.drop()
            return
        # Of the axes behind the channels first: contiguous, and little is left then.
        spread = array.reshape(-1, layout.count, math.prod(array.shape[layout.axis + 1 :]))
        behind = spread.shape[2] > 1
        minima = spread.min(axis=2) if behind else spread[:, :, 0]
        maxima = spread.max(axis=2) if behind else spread[:, :, 0]
        self.include(minima, maxima)

    def include(self, minima: NDArray[np.float32], maxima: NDArray[np.float32]) -> None:
        """Take in what somebody else found, float32 [..., channels]."""
        layout = self.layout
        if layout is None:
            return
        if minima.shape[-1:] != (layout.count,) or maxima.shape != minima.shape:
            self.drop()
            return
        lows, highs = (each.reshape(-1, layout.count) for each in (minima, maxima))
        low, high = (lows[0], highs[0]) if len(lows) == 1 else (lows.min(axis=0), highs.max(axis=0))
        np.minimum(self._minimum, low, out=self._minimum)
        np.maximum(self._maximum, high, out=self._maximum)

    def within(self, array: Array) -> int | None:
        """Elements of one channel, where channels of the array lie behind each other."""
        layout = self.layout
        if layout is None or not layout.fits(array):
            return None
        return inner_size(array.shape, layout.axis)

    def drop(self) -> None:
        """Keep nothing from now on."""
        self.layout = None
        self._minimum = self._maximum = np.zeros(0, np.float32)

    def merge(self, other: ChannelTracker) -> ChannelTracker:
        """Of both; nothing where one of the two kept nothing."""
        if self.layout != other.layout:
            return ChannelTracker(None)
        merged = ChannelTracker(self.layout)
        np.minimum(self._minimum, other._minimum, out=merged._minimum)
        np.maximum(self._maximum, other._maximum, out=merged._maximum)
        return merged

    def extrema(self) -> ChannelExtrema | None:
        """What was seen; None where nothing was kept."""
        if self.layout is None or not np.isfinite(self._minimum).all():
            return None
        minimum, maximum = self._bounds()
        minimum.flags.writeable = maximum.flags.writeable = False
        return ChannelExtrema(self.layout.axis, minimum, maximum)

    def _bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # Adding 0.0 turns -0.0 into 0.0: which of the two is found depends on the order.
        return self._minimum + np.float32(0), self._maximum + np.float32(0)

    def to_arrays(self) -> dict[str, Array]:
        """As :meth:`Statistics.to_arrays` stores it.

        Returns:
            ``channel_axis`` (-1: none) and ``channel_rank`` int64 [], ``channel_minimum`` and
            ``channel_maximum`` float32 [channels].
        """
        minimum, maximum = self._bounds()
        axis, rank = (-1, 0) if self.layout is None else (self.layout.axis, self.layout.rank)
        return {
            "channel_axis": np.array(axis, np.int64),
            "channel_rank": np.array(rank, np.int64),
            "channel_minimum": minimum,
            "channel_maximum": maximum,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], extrema: tuple[float, float]
    ) -> ChannelTracker:
        """The inverse of :meth:`to_arrays`.

        Args:
            arrays: What it returned.
            extrema: Minimum and maximum of the value.

        Raises:
            ValueError: The arrays do not fit each other.
        """
        axis, rank = int(arrays["channel_axis"]), int(arrays["channel_rank"])
        minimum, maximum = arrays["channel_minimum"], arrays["channel_maximum"]
        if minimum.shape != maximum.shape or minimum.ndim != 1:
            raise ValueError("the extrema of the channels do not fit each other")
        if any(each.dtype != np.float32 for each in (minimum, maximum)):
            raise ValueError("the extrema of the channels are no float32")
        if (axis < 0) != (minimum.size == 0) or (axis >= 0 and axis >= rank):
            raise ValueError("the channels have no axis")
        made = cls(ChannelLayout(axis, rank, minimum.size) if axis >= 0 else None)
        made._minimum, made._maximum = minimum.astype(np.float32), maximum.astype(np.float32)
        seen = minimum.size and bool(np.isfinite(extrema).all())
        if seen and (float(minimum.min()), float(maximum.max())) != extrema:
            raise ValueError("the extrema of the channels are not those of the value")
        return made
