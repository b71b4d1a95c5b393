"""What every channel of a value looks like on samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph.expose import expose
from edgeq.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, Sample


@dataclass(frozen=True, eq=False, slots=True)
class Channels:
    """Range and power of each channel.

    Attributes:
        minimum: Exact minimum over samples and positions, float64 [channels].
        maximum: Exact maximum, float64 [channels].
        mean: Mean, float64 [channels].
        power: Mean of the squares, float64 [channels].
        axis: Where the channels lie, counted from the last axis: negative.
    """

    minimum: FloatArray
    maximum: FloatArray
    mean: FloatArray
    power: FloatArray
    axis: int

    def times(self, factors: FloatArray) -> Channels:
        """Of the value that is so many times this one, channel by channel.

        Args:
            factors: Above 0, float [channels].
        """
        return Channels(
            self.minimum * factors,
            self.maximum * factors,
            self.mean * factors,
            self.power * factors**2,
            self.axis,
        )


def channel_ranges(
    model: ir.Model, axes: Mapping[str, int], samples: Iterable[Sample]
) -> dict[str, Channels]:
    """Observe values channel by channel.

    Args:
        model: The float model; not changed.
        axes: Value name -> its channel axis, negative.
        samples: Read once.

    Returns:
        What was found. Values that no sample computed, that changed their number of channels or
        that held NaN or infinity are missing.
    """
    exposed = expose(model, sorted(axes), keep_outputs=False)
    session = Session(exposed.model) if exposed.outputs else None
    sums: dict[str, _Sums | None] = {}
    for sample in samples:
        found: dict[str, Array] = {n: sample[n] for n in axes if n in sample}
        if session is not None:
            results = session.run(sample)
            found |= {name: results[output] for name, output in exposed.outputs.items()}
        for name, array in found.items():
            if array.size and array.ndim >= -axes[name]:
                sums[name] = _joined(sums.get(name, _NOTHING), _summed(array, axes[name]))
    return {
        name: Channels(
            one.minimum, one.maximum, one.total / one.count, one.squares / one.count, axes[name]
        )
        for name, one in sums.items()
        if one is not None
    }


@dataclass(frozen=True, eq=False, slots=True)
class _Sums:
    minimum: FloatArray
    maximum: FloatArray
    total: FloatArray
    squares: FloatArray
    count: int


_NOTHING = _Sums(np.full(1, np.inf), np.full(1, -np.inf), np.zeros(1), np.zeros(1), 0)


def _summed(array: Array, axis: int) -> _Sums | None:
    others = tuple(i for i in range(array.ndim) if i != array.ndim + axis)
    reals = array.astype(np.float32, copy=False)
    low, high = reals.min(axis=others), reals.max(axis=others)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    total = reals.sum(axis=others, dtype=np.float64)
    squares = np.square(reals).sum(axis=others, dtype=np.float64)
    count = reals.size // low.size
    return _Sums(low.astype(np.float64), high.astype(np.float64), total, squares, count)


def _joined(one: _Sums | None, other: _Sums | None) -> _Sums | None:
    if one is None or other is None:
        return None
    if one.count and one.minimum.shape != other.minimum.shape:
        return None
    return _Sums(
        np.minimum(one.minimum, other.minimum),
        np.maximum(one.maximum, other.maximum),
        one.total + other.total,
        one.squares + other.squares,
        one.count + other.count,
    )
