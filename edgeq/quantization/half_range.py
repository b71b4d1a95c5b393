"""Which constants float16 holds: none beyond its range, and small ones with most of their digits.

Numbers below 2**-14 lose digits, and below 2**-25 they become zero. That matters where they are all
there is: in a channel, a row or a vector of such numbers, not beside large ones.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array, FloatArray

LARGEST: Final = float(np.finfo(np.float16).max)

_LOST: Final = 2.0**-14
"""Energy of the errors over that of the numbers from which they are lost: 7 bits of 11 are left."""

_NEGLIGIBLE: Final = 1e-6
"""Energy over that of a usual slice below which a slice counts as if it had that much."""

_INTEGERS: Final = 127
"""The largest 8-bit integer that a scale multiplies."""


def beyond_half(name: str, data: Array) -> str:
    """What about a constant does not fit into float16; empty where it does.

    Args:
        name: The constant.
        data: Its numbers, float32 of any shape.
    """
    if not data.size:
        return ""
    numbers = (data.reshape(-1) if data.ndim == 0 else data).astype(np.float32, copy=False)
    least, most = float(numbers.min()), float(numbers.max())
    if not max(-least, most) <= LARGEST:
        return f"its constant {name!r} passes {LARGEST:.0f}, the largest number of float16"
    if _is_lost(numbers):
        if data.size == 1:
            return f"its constant {float(numbers[(0,) * numbers.ndim]):.3g} is lost in float16"
        return f"the small numbers of its constant {name!r} are lost in float16"
    return ""


def scales_beyond_half(scale: Array) -> bool:
    """Whether scales would be others in float16, by more than half a step of the largest integer.

    Args:
        scale: float32, of any shape.
    """
    with np.errstate(over="ignore"):
        narrow = scale.astype(np.float16).astype(np.float64)
    wide = scale.astype(np.float64)
    return bool(np.any(np.abs(narrow - wide) * (2 * _INTEGERS) > np.abs(wide)))


def _is_lost(numbers: FloatArray) -> bool:
    """Whether rounding takes too much of any slice along any axis."""
    error = numbers.astype(np.float16).astype(np.float32)
    np.subtract(numbers, error, out=error)
    # float64 holds the squares of all float32 numbers.
    for axis in range(numbers.ndim):
        noise, energy = _energies(error, axis), _energies(numbers, axis)
        energy = np.maximum(energy, _NEGLIGIBLE * energy.mean())
        if np.any(noise > _LOST * energy):
            return True
    return False


def _energies(numbers: FloatArray, axis: int) -> FloatArray:
    """The sum of squares of each slice along an axis."""
    letters = string.ascii_letters[: numbers.ndim]
    summed = f"{letters},{letters}->{letters[axis]}"
    found: FloatArray = np.einsum(summed, numbers, numbers, dtype=np.float64, casting="unsafe")
    return found
