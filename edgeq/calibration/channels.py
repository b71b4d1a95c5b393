"""Extrema of every channel of a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class ChannelTracker:
    """The growing side of :class:`ChannelExtrema`.

    Args:
        layout: Where the channels are. Once a value does not fit it, nothing is kept any more.
    """

    __slots__ = ("layout", "maximum", "minimum")

    def __init__(self, layout: ChannelLayout | None) -> None:
        self.layout = layout
        count = 0 if layout is None else layout.count
        self.minimum: NDArray[np.float32] = np.full(count, np.inf, np.float32)
        self.maximum: NDArray[np.float32] = np.full(count, -np.inf, np.float32)

    def see(self, array: NDArray[np.float32]) -> None:
        """Take in an array of finite float32, not empty."""
        layout = self.layout
        if layout is None:
            return
        if not layout.fits(array):
            self.drop()
            return
        # Of the axes behind the channels first: contiguous, and little is left then.
        spread = array.reshape(-1, layout.count, int(np.prod(array.shape[layout.axis + 1 :])))
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
        zero = np.float32(0)  # -0.0 becomes 0.0: which of the two a minimum is depends on the order
        lows = minima.reshape(-1, layout.count).min(axis=0) + zero
        highs = maxima.reshape(-1, layout.count).max(axis=0) + zero
        np.minimum(self.minimum, lows, out=self.minimum)
        np.maximum(self.maximum, highs, out=self.maximum)

    def drop(self) -> None:
        """Keep nothing from now on."""
        self.layout = None
        self.minimum = self.maximum = np.zeros(0, np.float32)

    def merge(self, other: ChannelTracker) -> ChannelTracker:
        """Of both; nothing where one of the two kept nothing."""
        if self.layout != other.layout:
            return ChannelTracker(None)
        merged = ChannelTracker(self.layout)
        np.minimum(self.minimum, other.minimum, out=merged.minimum)
        np.maximum(self.maximum, other.maximum, out=merged.maximum)
        return merged

    def extrema(self) -> ChannelExtrema | None:
        """What was seen; None where nothing was kept."""
        if self.layout is None or not np.isfinite(self.minimum).all():
            return None
        minimum, maximum = self.minimum.copy(), self.maximum.copy()
        minimum.flags.writeable = maximum.flags.writeable = False
        return ChannelExtrema(self.layout.axis, minimum, maximum)

    def to_arrays(self) -> dict[str, Array]:
        """As :meth:`Statistics.to_arrays` stores it.

        Returns:
            ``channel_axis`` (-1: none) and ``channel_rank`` int64 [], ``channel_minimum`` and
            ``channel_maximum`` float32 [channels].
        """
        axis, rank = (-1, 0) if self.layout is None else (self.layout.axis, self.layout.rank)
        return {
            "channel_axis": np.array(axis, np.int64),
            "channel_rank": np.array(rank, np.int64),
            "channel_minimum": self.minimum.copy(),
            "channel_maximum": self.maximum.copy(),
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
        made.minimum, made.maximum = minimum.astype(np.float32), maximum.astype(np.float32)
        seen = minimum.size and bool(np.isfinite(extrema).all())
        if seen and (float(minimum.min()), float(maximum.max())) != extrema:
            raise ValueError("the extrema of the channels are not those of the value")
        return made
