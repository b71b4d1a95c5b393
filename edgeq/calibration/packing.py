"""Statistics of many values as few arrays: one a key, all values behind each other."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.types import Array

OFFSETS = ".offsets"
"""Behind the key: where each value's part begins, int64 [values + 1]."""


def pack(statistics: Iterable[Statistics]) -> dict[str, Array]:
    """All of the statistics, in their order.

    Returns:
        Per key of :meth:`Statistics.to_arrays`: scalars stacked; other arrays joined along axis 0,
        with their offsets beside them. Empty for no statistics.
    """
    parts: dict[str, list[Array]] = {}
    for each in statistics:
        for key, array in each.to_arrays().items():
            parts.setdefault(key, []).append(array)
    packed: dict[str, Array] = {}
    for key, arrays in parts.items():
        if arrays[0].ndim == 0:
            packed[key] = np.stack(arrays)
        else:
            packed[key] = np.concatenate(arrays)
            packed[key + OFFSETS] = np.cumsum([0, *(len(array) for array in arrays)])
    return packed


def unpack(packed: Mapping[str, Array], count: int) -> list[Statistics]:
    """The inverse of :func:`pack`.

    Args:
        packed: What it returned.
        count: How many values there are.

    Raises:
        ValueError: Arrays are missing or do not fit each other.
        CalibrationError: As :meth:`Statistics.from_arrays`.
    """
    found: list[dict[str, Array]] = [{} for _ in range(count)]
    for key, array in packed.items():
        if key.endswith(OFFSETS):
            continue
        offsets = packed.get(key + OFFSETS)
        for position, part in enumerate(_parts(key, array, offsets, count)):
            found[position][key] = part
    return [Statistics.from_arrays(arrays) for arrays in found]


def _parts(key: str, array: Array, offsets: Array | None, count: int) -> Iterable[Array]:
    if offsets is None:
        if array.shape != (count,):
            raise ValueError(f"{key} is not there for each of {count} values")
        return [np.asarray(array[position]) for position in range(count)]
    bounds = [int(bound) for bound in offsets] if offsets.dtype.kind == "i" else []
    if len(bounds) != count + 1 or bounds != sorted(bounds) or array.ndim == 0:
        raise ValueError(f"the offsets of {key} are wrong")
    if (bounds[0], bounds[-1]) != (0, len(array)):
        raise ValueError(f"the offsets of {key} do not cover it")
    return [array[low:high] for low, high in pairwise(bounds)]
