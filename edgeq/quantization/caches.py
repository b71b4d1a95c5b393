"""Caches of keys and values in 8 or 4 bits: found, scaled, and changed at the model's interface.

A cache is an input [batch, heads, tokens, channels] that an output continues. Each channel of each
head has one scale, found on samples, and no zero point::

    stored = round(x / scale)        within -128..127, or -8..7

Where GroupQueryAttention reads it, its kernel takes the integers (``k_scale``, ``v_scale``); 4 bits
are stored as x + 8, two to a byte, the even channel in the low half. Elsewhere the input is
converted in front of the Concat and the output behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.errors import UnsupportedError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import MICROSOFT, is_op, name_of
from edgeq.passes import edits
from edgeq.passes.fuse_cached_attention import OPERATOR
from edgeq.quantization.cache_forms import Conversions, StoredCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.types import Array, FloatArray

BITS: Final = {"int8": 8, "int4": 4}
"""Widths by the name that users write."""

CLIPPED: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Parts of the largest number that the range of a channel may end at."""

_KEYS, _VALUES = 3, 4
_KEY_SCALES, _VALUE_SCALES = 12, 13
"""Inputs of GroupQueryAttention: onnxruntime/core/graph/contrib_ops/bert_defs.cc, version 1.31."""


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache.

    Attributes:
        past: The input, float.
        present: The output that continues it.
        node: The Concat or GroupQueryAttention between.
        place: Which input of the node ``past`` is.
    """

    past: ir.Value
    present: ir.Value
    node: ir.Node
    place: int

    @property
    def name(self) -> str:
        """The name of the input."""
        return name_of(self.past)

    @property
    def fused(self) -> bool:
        """Whether GroupQueryAttention reads it."""
        return self.node.op_type == OPERATOR

    @property
    def sizes(self) -> tuple[int, int]:
        """Heads and channels."""
        heads, channels = (None, None) if self.past.shape is None else self.past.shape[1::2]
        if not (isinstance(heads, int) and isinstance(channels, int)):
            raise TypeError(f"{self.name} is no cache of known heads and channels")
        return heads, channels


def find_caches(model: ir.Model) -> tuple[Cache, ...]:
    """The float caches of a model, in the order of its nodes."""
    return tuple(cache for node in model.graph for cache in _of(node) if _is_cache(cache.past))


def _of(node: ir.Node) -> Iterator[Cache]:
    if node.domain == MICROSOFT and node.op_type == OPERATOR:
        pairs = [(_KEYS, 1), (_VALUES, 2)]
    elif is_op(node, "Concat") and len(node.inputs) == 2:
        pairs = [(0, 0)] if node.attributes.get_int("axis", 0) in (2, -2) else []
    else:
        return
    for place, output in pairs:
        past = node.inputs[place] if place < len(node.inputs) else None
        present = node.outputs[output] if output < len(node.outputs) else None
        if past is not None and present is not None and present.is_graph_output():
            yield Cache(past, present, node, place)


def _is_cache(past: ir.Value) -> bool:
    shape = past.shape
    return (
        past.is_graph_input()
        and past.dtype == ir.DataType.FLOAT
        and shape is not None
        and len(shape) == 4
        and isinstance(shape[1], int)
        and isinstance(shape[3], int)
        and not isinstance(shape[2], int)
    )


class CacheRanges:
    """Finds the scales of caches from what they hold.

    Everything is shown twice: the largest numbers are found first, and then which part of them to
    cover for the least squared error, channel by channel.

    Args:
        caches: The caches.
        bits: Their width in integers.
    """

    def __init__(self, caches: Sequence[Cache], bits: int) -> None:
        self._top = 2 ** (bits - 1) - 1
        self._largest = {c.name: np.zeros(c.sizes, np.float64) for c in caches}
        self._errors = {c.name: np.zeros((len(CLIPPED), *c.sizes)) for c in caches}

    def widen(self, contents: Mapping[str, Array]) -> None:
        """Look at numbers for the first time.

        Args:
            contents: [batch, heads, tokens, channels] by name of the cache.
        """
        for name, array in contents.items():
            found = np.abs(array).max(axis=(0, 2), initial=0.0)
            np.maximum(self._largest[name], found, out=self._largest[name])

    def weigh(self, contents: Mapping[str, Array]) -> None:
        """Look at the same numbers again."""
        for name, array in contents.items():
            for place, part in enumerate(CLIPPED):
                scale = self._scale(name, part)[:, None]
                wide = array.astype(np.float64)
                stored = np.clip(np.rint(wide / scale), -self._top - 1, self._top) * scale
                self._errors[name][place] += ((wide - stored) ** 2).sum(axis=(0, 2))

    def scales(self) -> dict[str, FloatArray]:
        """float32 [heads, channels] by name of the cache."""
        found = {}
        for name, errors in self._errors.items():
            part = np.asarray(CLIPPED)[errors.argmin(axis=0)]
            found[name] = (self._scale(name, 1.0) * part).astype(np.float32)
        return found

    def _scale(self, name: str, part: float) -> FloatArray:
        largest = self._largest[name]
        scale: FloatArray = np.where(largest > 0, largest, 1.0) * (part / self._top)
        return scale


def store_caches(
    model: ir.Model, scales: Mapping[str, FloatArray], bits: int
) -> tuple[StoredCache, ...]:
    """Let the caches of a model be integers, at its interface, too.

    Args:
        model: Changed in place.
        scales: float32 [heads, channels] by name of the cache.
        bits: 8 or 4.

    Raises:
        UnsupportedError: 4 bits are asked for where another operator reads the cache, or the
            channels are an odd number.
    """
    names, stored = rewire.Names(model), []
    for cache in find_caches(model):
        made = StoredCache(
            cache.name, name_of(cache.present), scales[cache.name], bits, cache.fused
        )
        if bits == 4 and (not cache.fused or made.scale.shape[-1] % 2):
            raise UnsupportedError(
                "no operator takes this cache in 4 bits: its attention is not fused, or its "
                "channels are an odd number",
                where=cache.name,
                remedy="Take --kv-cache int8",
            )
        (_store_fused if cache.fused else _store_beside)(cache, made, names)
        stored.append(made)
    return tuple(stored)


def _store_fused(cache: Cache, made: StoredCache, names: rewire.Names) -> None:
    node, letter = cache.node, "k" if cache.place == _KEYS else "v"
    if len(node.inputs) <= _VALUE_SCALES:
        node.resize_inputs(_VALUE_SCALES + 1)
    name = names.value(f"{cache.name}__scale")
    scale = rewire.add_initializer(edits.graph_of(node), name, made.scale.reshape(-1))
    node.replace_input_with(_KEY_SCALES if letter == "k" else _VALUE_SCALES, scale)
    for attribute in (
        ir.AttrString(f"{letter}_quant_type", "PER_CHANNEL"),
        ir.AttrInt64("kv_cache_bit_width", made.bits),
    ):
        node.attributes[attribute.name] = attribute
    for value in (cache.past, cache.present):
        _retype(value, made)


def _retype(value: ir.Value, made: StoredCache) -> None:
    """Let a value have the type and shape of the integers."""
    value.type = ir.TensorType(ir.DataType.INT8 if made.bits == 8 else ir.DataType.UINT8)
    _widen(value, made.scale.shape[-1] * made.bits // 8)


def _widen(value: ir.Value, channels: int) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([*list(value.shape)[:-1], channels])


def _store_beside(cache: Cache, made: StoredCache, names: rewire.Names) -> None:
    past, graph = cache.past, edits.graph_of(cache.node)
    readers = [(use.node, use.idx) for use in past.uses()]
    conversions = Conversions(graph, names)
    floats, nodes = conversions.to_floats(past, made)
    graph.insert_before(graph[0], nodes)
    rewire.redirect(readers, floats)
    integers, nodes = conversions.to_integers(cache.present, made)
    graph.insert_after(cache.node, nodes)
    rewire.hand_over_output(cache.present, integers)
    for value in (past, integers):
        _retype(value, made)


def stored_caches(model: ir.Model) -> tuple[StoredCache, ...]:
    """The caches of integers that GroupQueryAttention reads from inputs of a model."""
    return tuple(
        StoredCache(cache.name, name_of(cache.present), scale, bits, fused=True)
        for node in model.graph
        if node.domain == MICROSOFT and node.op_type == OPERATOR
        for cache in _of(node)
        if (bits := node.attributes.get_int("kv_cache_bit_width", 0)) in BITS.values()
        and (scale := _scale_of(cache, bits)) is not None
    )


def _scale_of(cache: Cache, bits: int) -> FloatArray | None:
    """Its scales [heads, channels]; None where the input is float or they are computed."""
    place = _KEY_SCALES if cache.place == _KEYS else _VALUE_SCALES
    value = cache.node.inputs[place] if place < len(cache.node.inputs) else None
    scale = constants.array(value)
    integers = cache.past.dtype in (ir.DataType.INT8, ir.DataType.UINT8)
    if scale is None or not integers or not cache.past.is_graph_input():
        return None
    heads, width = cache.sizes
    found: FloatArray = np.empty((heads, width * 8 // bits), np.float32)
    found[:] = scale if scale.size == 1 else scale.reshape(found.shape)
    return found


def with_float_caches(model: ir.Model, stored: Sequence[StoredCache]) -> ir.Model:
    """A copy whose caches are floats at the interface again, to be fed like its original.

    Args:
        model: What :func:`store_caches` made.
        stored: What it told.
    """
    copy = model.clone()
    names, graph = rewire.Names(copy), copy.graph
    conversions = Conversions(graph, names)
    inputs = {name_of(value): place for place, value in enumerate(graph.inputs)}
    outputs = {name_of(value): value for value in graph.outputs}
    for made in stored:
        past, given = graph.inputs[inputs[made.past]], ir.Value(name=made.past)
        readers = [(use.node, use.idx) for use in past.uses()]
        past.name = names.value(f"{made.past}__stored")
        graph.inputs[inputs[made.past]] = given
        given.shape = past.shape
        integers, nodes = conversions.to_integers(given, made)
        graph.insert_before(graph[0], nodes)
        rewire.redirect(readers, integers)
        floats, nodes = conversions.to_floats(outputs[made.present], made)
        graph.extend(nodes)
        rewire.hand_over_output(outputs[made.present], floats)
        for value in (given, floats):
            value.type = ir.TensorType(ir.DataType.FLOAT)
            _widen(value, made.scale.shape[-1])
    return copy
