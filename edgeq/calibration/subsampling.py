"""Which elements of a large array are counted: an evenly spaced part, and the tails in full.

A tail is read from the stretches of the array with the greatest maxima (the least minima): beyond
the least of those maxima there is nothing that they do not hold.

What is counted depends on the index of the sample and on the size of the array alone, so that
shards count what a single run does.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRETCHES = ((2**16, 32, 256), (2**17, 32, 512), (2**19, 128, 2048), (2**62, 128, 4096))
"""Up to so many elements of an array: how long its stretches are, and how many elements there are
to one stretch that is read. Of smaller arrays more is read: there is less of them to know the rest
from, and it costs less."""

DENSE = 8
"""Samples of which as many elements are counted as the limit says, those with the least indices."""

_SPARSER = 4
"""Of others that part of it."""

_SHORTEST = 16
"""Elements of a stretch within a channel, at least."""


def counted_whole(limit: int) -> int:
    """Elements up to which an array is counted whole in every sample, and its tails need no look.

    Half of the limit: below it, looking for the tails costs what counting fewer elements gains.
    """
    return limit // 2


@lru_cache(maxsize=4096)
def coprime_stride(size: int, limit: int) -> int:
    """The stride that counts nearest to ``limit`` elements and has no factor of ``size``.

    By their ratio, and no more than twice as many.

    Sharing no factor with the number of elements, it shares none with any dimension: walking a
    C-ordered array, it meets all indices of every dimension equally often instead of the same
    few channels again and again.

    The error: for elements in random order, a fraction F is estimated from m counted elements
    with a standard deviation of at most sqrt(F (1 - F) / m); the greatest error over all
    fractions exceeds sqrt(ln(2 / d) / (2 m)) with a probability below d (Dvoretzky-Kiefer-
    Wolfowitz inequality with Massart's constant; sampling without replacement is no worse). With
    2**15 counted and d = 1e-6 that is 1.5 % for one sample and 0.53 % for 8; with a third of it,
    2.6 % and 0.92 %.

    Args:
        size: Number of elements.
        limit: Elements to count, about.

    Returns:
        1 where all elements are counted.
    """
    if size <= limit:
        return 1
    fitting = (k for k in itertools.count(-(-size // (2 * limit))) if math.gcd(k, size) == 1)
    below = list(itertools.takewhile(lambda k: k * limit < size, fitting))[-1:]
    above = next(k for k in itertools.count(-(-size // limit)) if math.gcd(k, size) == 1)
    return min([*below, above], key=lambda k: abs(math.log(k * limit / size)))


def stride_in(sample_index: int, size: int, limit: int) -> int:
    """The stride of a sample: the first ones are counted densely, others with a quarter of that.

    Arrays that are not large (:func:`counted_whole`) are counted whole in all of them.

    What lies inside of the tails is known as well as from the first samples alone, and better with
    each further one. Neither depends on what other samples were seen.

    Args:
        sample_index: Of the sample.
        size: Number of elements.
        limit: As for :func:`coprime_stride`.

    Returns:
        1 where all elements are counted.
    """
    if size <= counted_whole(limit):
        return 1
    return coprime_stride(size, limit if sample_index < DENSE else max(limit // _SPARSER, 1))


@lru_cache(maxsize=4096)
def stretches(size: int, limit: int, within: int | None = None) -> tuple[int, int]:
    """How an array is cut to find its tails, and how many of the pieces are read.

    As many of its greatest elements are counted one by one as pieces are read, at least, and of its
    least; more where large elements lie together, as they do.

    Args:
        size: Number of elements.
        limit: Elements to count at most.
        within: Elements of one channel, where channels lie behind each other: the length divides
            it if it :func:`is_divisible`, and the extrema of channels are those of their pieces.

    Returns:
        Length of a piece, which divides the size; and the number of pieces to read, 0 where all
        elements are counted in all samples, or no length near to the wanted one divides the size.
    """
    if size <= counted_whole(limit):
        return max(size, 1), 0
    wanted, part = next((length, part) for most, length, part in _STRETCHES if size <= most)
    if within is not None and is_divisible(within):
        fitting = [n for n in range(_SHORTEST, 2 * wanted + 1) if within % n == 0]
    else:
        fitting = [n for n in range(wanted // 2, 2 * wanted + 1) if size % n == 0]
    if not fitting:
        return size, 0
    length = min(fitting, key=lambda n: (abs(math.log2(n / wanted)), n))
    return length, min(max(size // part, 1), size // length)


@lru_cache(maxsize=4096)
def is_divisible(within: int) -> bool:
    """Whether pieces of whatever size are wanted can be parts of a channel of so many elements."""
    return any(within % length == 0 for length in range(_SHORTEST, 2 * _STRETCHES[0][1] + 1))


@dataclass(frozen=True, eq=False, slots=True)
class Tails:
    """The stretches of an array in which its extremes are; see :func:`stretches`.

    Where there are none to be read, or none beyond zero on one side, arrays are empty.

    Attributes:
        below: The stretches with the least minima, float32 of any shape.
        above: Those with the greatest maxima.
        minima: Of the stretches below, float32 [top].
        maxima: Of the stretches above, float32 [top].
    """

    below: NDArray[np.float32]
    above: NDArray[np.float32]
    minima: NDArray[np.float32]
    maxima: NDArray[np.float32]

    @classmethod
    def of(cls, values: NDArray[np.float32], limit: int, within: int | None = None) -> Tails:
        """Those of an array.

        Args:
            values: Finite float32, C-contiguous, one dimension.
            limit: As for :func:`coprime_stride`.
            within: As for :func:`stretches`.
        """
        length, top = stretches(values.size, limit, within)
        if not top:
            nothing = np.zeros(0, np.float32)
            return cls(nothing, nothing, nothing, nothing)
        rows = values.reshape(-1, length)
        minima, maxima = rows.min(axis=1), rows.max(axis=1)
        least = np.argpartition(minima, top - 1)[:top]
        most = np.argpartition(maxima, -top)[-top:]
        return cls(rows[least], rows[most], minima[least], maxima[most])
