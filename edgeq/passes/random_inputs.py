"""Random inputs shaped as a model declares them, for running it when nobody gave samples.

Sizes that are sums of others come to what they are the sums of. Decoders with caches are given
numbers of tokens, old and new, that go together, and masks and positions that say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph.cache_ports import cache_sizes
from edgeq.graph.companions import companion_named
from edgeq.graph.walk import is_op
from edgeq.passes import dims
from edgeq.passes.declared_sizes import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from edgeq.passes.dims import Size
    from edgeq.types import Array, Sample

_IMAGE_RANK = 4
_STATE_RANK = 3
_TOKENS_RANK = 2
_UNKNOWN_RANK = 2
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
        cached: Tokens in the caches of a decoder.
        hidden: How many tokens are masked in the last row.
    """

    batch: int
    side: int
    length: int
    integers: int = 8
    sound: bool = False
    cached: int = 5
    hidden: int = 0


_DECODER_GUESSES = (
    _Guess(1, 8, 8),
    _Guess(2, 1, 1, cached=9, hidden=3),
    _Guess(1, 16, 16, cached=0),
)
"""For decoders with caches, in front of the others: several tokens, one for each row, a prompt."""

_GUESSES = (
    _Guess(1, 64, 8),
    _Guess(2, 96, 9, hidden=3),
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
    Masks and positions are those of the tokens.

    Args:
        model: The model to feed.
        seed: Seed of the generator.

    Yields:
        Samples, of other sizes each where the model allows that; none when an input is no tensor.
    """
    rng = np.random.default_rng(seed)
    required = [v for v in model.graph.inputs if not v.is_initializer()]
    declared = _declared(required)
    caches = _caches(declared)
    companions = [v for v in required if _is_companion(v)]
    # Sums come last: what they are made of has its sizes from elsewhere then.
    others = sorted(
        (v for v in required if v not in companions), key=lambda v: _is_sum(declared[v])
    )
    for guess in _guesses(declared, is_decoder=bool(caches)):
        sizes = _Sizes(declared, guess, dict.fromkeys(caches, guess.cached))
        drawn = {v.name: _random(v, sizes, rng) for v in others}
        new, old = _new_tokens(others, drawn, guess), guess.cached if caches else 0
        drawn |= {v.name: _companion(v, sizes, new, old) for v in companions}
        sample = {name: array for name, array in drawn.items() if name and array is not None}
        if len(sample) < len(required):
            return
        yield sample


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What the sizes that inputs declare come to in one sample.

    Attributes:
        declared: They, by input.
        guess: What to try for the open ones.
        known: What symbols come to, as far as that is settled.
    """

    declared: Mapping[ir.Value, tuple[Size, ...]]
    guess: _Guess
    known: dict[str, int]

    def told(self, value: ir.Value, axis: int) -> int | None:
        """A size that follows from what is settled; None for any other."""
        size = self.declared[value][axis]
        return self.of(value, axis) if self.known.keys() >= set(dims.names(size)) else None

    def of(self, value: ir.Value, axis: int) -> int:
        """A size; settles its symbols."""
        sizes, guess = self.declared[value], self.guess
        inner = guess.side if len(sizes) == _IMAGE_RANK else guess.length
        if axis == 1:
            inner = _channels(value) or inner
        for name in dims.names(sizes[axis]):
            self.known.setdefault(name, guess.batch if axis == _batch_axis(sizes) else inner)
        return max(int(dims.evaluate(sizes[axis], self.known)), 0)


def _batch_axis(sizes: tuple[Size, ...]) -> int:
    """Where the batch is: first, but for the states of recurrent nodes: [layers, batch, size]."""
    open_axes = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
    return 1 if open_axes == [1] and len(sizes) == _STATE_RANK else 0


def _declared(required: list[ir.Value]) -> dict[ir.Value, tuple[Size, ...]]:
    """The sizes of inputs as they declare them; a symbol for each of which they say nothing."""
    unknown = ir.Shape([None] * _UNKNOWN_RANK)
    shapes = {value: unknown if value.shape is None else value.shape for value in required}
    every = [dim for shape in shapes.values() for dim in shape]
    names = {dim.value for dim in every if isinstance(dim, ir.SymbolicDim) and dim.value}
    return {
        value: tuple(_size(value, axis, dim, names) for axis, dim in enumerate(shape))
        for value, shape in shapes.items()
    }


def _size(value: ir.Value, axis: int, dim: int | ir.SymbolicDim, names: Collection[str]) -> Size:
    if isinstance(dim, int) and dim >= 0:
        return dim
    name = None if isinstance(dim, int) else dim.value
    return parse(name, names) if name else dims.symbol(f"{value.name}:{axis}")


def _guesses(
    declared: Mapping[ir.Value, tuple[Size, ...]], *, is_decoder: bool
) -> Iterator[_Guess]:
    if is_decoder:
        yield from _DECODER_GUESSES
    is_wide = any(_is_wide(value, sizes) for value, sizes in declared.items())
    may_be_sound = any(map(_may_be_sound, declared)) and not is_wide
    yield from (guess for guess in _GUESSES if may_be_sound or not guess.sound)


def _caches(declared: Mapping[ir.Value, tuple[Size, ...]]) -> set[str]:
    """The symbols of the tokens in caches; none for a model that reads no tokens."""
    if not any(map(_holds_tokens, declared)):
        return set()
    tokens = [sizes[2] for value, sizes in declared.items() if cache_sizes(value) is not None]
    return {symbol for size in tokens for symbol in dims.names(size)}


def _holds_tokens(value: ir.Value) -> bool:
    whole = value.dtype is not None and value.dtype.is_integer()
    of_rows = value.shape is not None and len(value.shape) == _TOKENS_RANK
    return whole and of_rows and companion_named(value.name or "") is None


def _is_companion(value: ir.Value) -> bool:
    """Whether it is a mask or positions: [batch, tokens], or without the batch."""
    of_tokens = value.shape is not None and 1 <= len(value.shape) <= _TOKENS_RANK
    is_number = value.dtype is not None and value.dtype not in (
        ir.DataType.STRING,
        ir.DataType.UNDEFINED,
    )
    return of_tokens and is_number and companion_named(value.name or "") is not None


def _new_tokens(
    inputs: list[ir.Value], drawn: Mapping[str | None, Array | None], guess: _Guess
) -> int:
    rows = next((drawn[value.name] for value in inputs if _holds_tokens(value)), None)
    return guess.length if rows is None else int(rows.shape[1])


def _companion(value: ir.Value, sizes: _Sizes, new: int, old: int) -> Array | None:
    found, last = companion_named(value.name or ""), len(sizes.declared[value]) - 1
    if found is None or value.dtype is None:
        return None
    told = sizes.told(value, last)
    size = (new + old if found.whole else new) if told is None else told
    rows = [] if last == 0 else [sizes.of(value, 0)]
    array = np.broadcast_to(found.fill(size, old), (*rows, size)).copy()
    if found.whole and rows:
        array[-1, : min(sizes.guess.hidden, size - 1)] = 0
    return array.astype(value.dtype.numpy())


def _is_sum(sizes: tuple[Size, ...]) -> bool:
    """Whether a size is told by those of other inputs."""
    return any(isinstance(size, dims.Dim) and not dims.is_symbol(size) for size in sizes)


def _is_wide(value: ir.Value, sizes: tuple[Size, ...]) -> bool:
    """Whether two or more axes are open beside the batch: as long as a recording, both of them."""
    if value.shape is None or len(sizes) == _IMAGE_RANK:
        return False
    told = {_batch_axis(sizes)} | ({1} if _channels(value) else set())
    return sum(axis not in told and not isinstance(n, int) for axis, n in enumerate(sizes)) > 1


def _may_be_sound(value: ir.Value) -> bool:
    if value.dtype is None or not value.dtype.is_floating_point():
        return False
    shape = value.shape
    return shape is None or (
        len(shape) != _IMAGE_RANK and not all(isinstance(dim, int) for dim in shape)
    )


def _random(value: ir.Value, sizes: _Sizes, rng: np.random.Generator) -> Array | None:
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        return None
    shape = [sizes.of(value, axis) for axis in range(len(sizes.declared[value]))]
    return _draw(value.dtype, shape, sizes.guess, rng)


def _channels(value: ir.Value) -> int | None:
    """How many channels a convolution that reads an input wants of it."""
    for use in value.uses():
        weight = use.node.inputs[1] if is_op(use.node, "Conv") and use.idx == 0 else None
        if weight is not None and weight.shape is not None and isinstance(weight.shape[1], int):
            return weight.shape[1] * use.node.attributes.get_int("group", 1)
    return None


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
