"""Random inputs shaped as a model declares them, for running it when nobody gave samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.types import Array, Sample

_IMAGE_RANK = 4
_STATE_RANK = 3
_WORDS = ("a", "b", "1", "")


@dataclass(frozen=True, slots=True)
class _Guess:
    """What to try for sizes that the model leaves open.

    Attributes:
        batch: Size of a symbolic axis 0.
        side: Of the other axes of a picture; it has to survive a few halvings.
        length: Of the other axes of anything else.
        integers: Integers are drawn from 0 up to and without this: they are often indices.
        sound: Whether it is for recordings: attention over so many tokens would take gigabytes.
    """

    batch: int
    side: int
    length: int
    integers: int = 8
    sound: bool = False


_GUESSES = (
    _Guess(1, 64, 8),
    _Guess(2, 96, 9),
    _Guess(1, 224, 32),
    _Guess(1, 64, 8, integers=2),
    _Guess(1, 64, 8, integers=1),
    _Guess(1, 320, 128, integers=2),
    _Guess(1, 256, 256, integers=2),
    _Guess(1, 288, 512, integers=2),
    _Guess(1, 1, 1, integers=2),
    _Guess(1, 64, 16000, integers=2, sound=True),
)
"""In the order in which they are tried: a model may refuse most of them."""


def random_samples(model: ir.Model, seed: int = 0) -> Iterator[Sample]:
    """Random inputs, one sample for each guess at what the model leaves open.

    Float inputs are normally distributed, integers small and not negative; of unknown rank is 2.

    Args:
        model: The model to feed.
        seed: Seed of the generator.

    Yields:
        Samples, of other sizes each where the model allows that; none when an input is no tensor.
    """
    rng = np.random.default_rng(seed)
    required = [v for v in model.graph.inputs if not v.is_initializer()]
    may_be_sound = any(map(_may_be_sound, required))
    for guess in _GUESSES:
        if guess.sound and not may_be_sound:
            continue
        sizes: dict[str, int] = {}
        sample = {}
        for value in required:
            array = _random(value, sizes, guess, rng)
            if array is None or not value.name:
                return
            sample[value.name] = array
        yield sample


def _may_be_sound(value: ir.Value) -> bool:
    if value.dtype is None or not value.dtype.is_floating_point():
        return False
    shape = value.shape
    return shape is None or (
        len(shape) != _IMAGE_RANK and not all(isinstance(dim, int) for dim in shape)
    )


def _random(
    value: ir.Value, sizes: dict[str, int], guess: _Guess, rng: np.random.Generator
) -> Array | None:
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        return None
    declared = value.shape if value.shape is not None else ir.Shape([None, None])
    shape = []
    batch = _batch_axis(declared)
    for axis, dim in enumerate(declared):
        if isinstance(dim, int) and dim >= 0:
            shape.append(dim)
            continue
        symbol = str(getattr(dim, "value", None) or f"{value.name}:{axis}")
        inner = guess.side if len(declared) == _IMAGE_RANK else guess.length
        shape.append(sizes.setdefault(symbol, guess.batch if axis == batch else inner))
    return _draw(value.dtype, shape, guess, rng)


def _batch_axis(shape: ir.Shape) -> int:
    """Where the batch is: first, but for the states of recurrent nodes: [layers, batch, size]."""
    open_axes = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int) or dim < 0]
    return 1 if open_axes == [1] and len(shape) == _STATE_RANK else 0


def _draw(
    dtype: ir.DataType, shape: list[int], guess: _Guess, rng: np.random.Generator
) -> Array | None:
    if dtype == ir.DataType.STRING:
        return rng.choice(np.array(_WORDS, object), shape)
    try:
        kind = dtype.numpy()
    except TypeError:
        return None
    if np.issubdtype(kind, np.floating):
        return rng.standard_normal(shape).astype(kind)
    if kind == np.bool_:
        return rng.integers(0, 2, shape).astype(kind)
    if np.issubdtype(kind, np.integer):
        return rng.integers(0, guess.integers, shape).astype(kind)
    return None
