"""Fuses rotations of queries and keys by their places into onnxruntime's RotaryEmbedding.

Exporters write, with tables of angles [places, channels] whose halves are alike::

    x * cos[places] + Concat(-x[half:], x[:half]) * sin[places]

which is seven small nodes for the queries and seven for the keys of each layer: a tenth and more of
the time of a decode step. What is [batch, tokens, heads * channels] to the operator is read and
made so, as GroupQueryAttention wants it, too. Any onnxruntime that edgeq takes has the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.fuse_cached_attention import DOMAIN, Builder
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, produced_by, where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer
    from edgeq.types import FloatArray

OPERATOR: Final = "RotaryEmbedding"

_RANK: Final = 4


@dataclass(frozen=True, slots=True)
class _Looked:
    """Rows of a table of angles: their numbers [places, channels / 2], and which rows."""

    table: FloatArray
    source: ir.Value
    places: ir.Value


@dataclass(frozen=True, slots=True)
class _Rotation:
    """A rotation.

    Attributes:
        value: What is rotated, [batch, heads, tokens, channels].
        heads: Their number.
        channels: Of each head.
        cos: Cosines of the angles.
        sin: Sines, at the same places.
    """

    value: ir.Value
    heads: int
    channels: int
    cos: _Looked
    sin: _Looked


def fuse_rotary(model: ir.Model) -> Outcome:
    """Put RotaryEmbedding in the place of rotations that are spelled out."""
    names = rewire.Names(model)
    shared: dict[object, ir.Value] = {}
    answers: list[Answer] = []
    for node in [n for n in walk.nodes(model) if is_op(n, "Add")]:
        found = _rotation(node)
        if isinstance(found, _Rotation):
            model.opset_imports.setdefault(DOMAIN, 1)
            _rewrite(node, found, Builder(node, names), shared)
            answers.append(True)
        else:
            answers.append(found)
    count = sum(answer is True for answer in answers)
    told = f"{count} rotations of queries and keys by their places became one {OPERATOR} each"
    return Outcome.of(answers, [told] if count else ())


def _rotation(add: ir.Node) -> _Rotation | Answer:
    for plain, turned in (add.inputs, reversed(add.inputs)):
        one, other = produced_by(plain, "Mul"), produced_by(turned, "Mul")
        if one is None or other is None:
            return False
        for place, turn in enumerate(other.inputs):
            value = _turned(turn)
            if value is None or value not in one.inputs:
                continue
            factor = one.inputs[1 - one.inputs.index(value)]
            return _checked(add, value, factor, other.inputs[1 - place])
    return False


def _checked(
    add: ir.Node, value: ir.Value, cosines: ir.Value | None, sines: ir.Value | None
) -> _Rotation | str:
    cos, sin = _looked_up(cosines), _looked_up(sines)
    if cos is None or sin is None or cos.places is not sin.places:
        return f"{where(add)}: its angles are no rows of tables whose halves are alike"
    shape = value.shape
    heads, channels = (None, None) if shape is None else (shape[1], shape[3])
    if not isinstance(heads, int) or not isinstance(channels, int):
        return f"{where(add)}: the number of heads or channels is not known"
    if not cos.table.shape == sin.table.shape == (len(cos.table), channels // 2):
        return f"{where(add)}: its tables do not have as many angles as a head has channels"
    return _Rotation(value, heads, channels, cos, sin)


def _turned(value: ir.Value | None) -> ir.Value | None:
    """What ``value`` is with its halves swapped, the second one negated; None if no such thing."""
    concat = produced_by(value, "Concat")
    if concat is None or len(concat.inputs) != 2:
        return None
    negated = produced_by(concat.inputs[0], "Neg")
    first = produced_by(concat.inputs[1], "Slice")
    second = None if negated is None else produced_by(negated.inputs[0], "Slice")
    if first is None or second is None or first.inputs[0] is not second.inputs[0]:
        return None
    source = first.inputs[0]
    if source is None or source.shape is None or len(source.shape) != _RANK:
        return None
    whole = source.shape[_RANK - 1]
    if not isinstance(whole, int) or whole % 2 or concat.attributes.get_int("axis", 0) % _RANK != 3:
        return None
    half = whole // 2
    cuts = _cut(first, whole), _cut(second, whole)
    return source if cuts == ((0, half), (half, whole)) else None


def _cut(node: ir.Node, size: int) -> tuple[int, int] | None:
    """Where a Slice of the last axis begins and ends; None for any other."""
    starts, ends = (ints(node, place, "") for place in (1, 2))
    axes = ints(node, 3, "") or (0,)
    steps = ints(node, 4, "") if len(node.inputs) > _RANK and node.inputs[4] is not None else (1,)
    if starts is None or ends is None or len(starts) != 1 or len(axes) != 1 or steps != (1,):
        return None
    if axes[0] % _RANK != _RANK - 1:
        return None
    begin, end, _ = slice(starts[0], ends[0]).indices(size)
    return begin, end


def _looked_up(value: ir.Value | None) -> _Looked | None:
    unsqueeze = produced_by(value, "Unsqueeze")
    if unsqueeze is None or ints(unsqueeze, 1, "axes") not in ((1,), (-3,)):
        return None
    gather = produced_by(unsqueeze.inputs[0], "Gather")
    if gather is None or gather.attributes.get_int("axis", 0) != 0:
        return None
    source, places = gather.inputs[0], gather.inputs[1]
    table = constants.array(source)
    if table is None or source is None or places is None or table.dtype != np.float32:
        return None
    if table.ndim != 2 or places.shape is None or len(places.shape) != 2:
        return None
    half = table.shape[1] // 2
    if table.shape[1] % 2 or not np.array_equal(table[:, :half], table[:, half:]):
        return None
    return _Looked(table[:, :half].astype(np.float32), source, places)


def _rewrite(
    add: ir.Node, found: _Rotation, build: Builder, shared: dict[object, ir.Value]
) -> None:
    tables = []
    for looked in (found.cos, found.sin):
        key = (add.graph, looked.source)
        if key not in shared:
            base = f"{looked.source.name}__half"
            shared[key] = edits.constant(add, looked.table, build.names, base)
        tables.append(shared[key])
    flat = build.flat(found.value, found.heads * found.channels)
    rotated = build.node(OPERATOR, [flat, _places(found, build, shared), *tables])
    node = rotated.producer()
    if node is None:
        raise ValueError("a node was made that makes nothing")
    node.domain = DOMAIN
    # onnx infers nothing of other domains, and views that cancel are told by shapes.
    shape = found.value.shape
    if shape is not None:
        rotated.shape = ir.Shape([shape[0], shape[2], found.heads * found.channels])
    rewire.take_place(add.outputs[0], build.by_heads(rotated, found.heads, found.channels))


def _places(found: _Rotation, build: Builder, shared: dict[object, ir.Value]) -> ir.Value:
    """The rows of the tables, int64 [batch, tokens], as the operator wants them.

    Gather counts negative ones from the end, and broadcasting gives all of a batch the same ones.
    """
    shape = found.value.shape
    sizes = () if shape is None else (str(shape[0]), str(shape[2]))
    alike: object = sizes if sizes and "None" not in sizes else found.value
    key = (build.anchor.graph, found.cos.places, alike, len(found.cos.table))
    if key not in shared:
        whole = build.node("Shape", [found.value])
        wanted = build.node("Gather", [whole, build.constant(np.array([0, 2], np.int64))])
        places = build.node("Cast", [found.cos.places], {"to": int(ir.DataType.INT64)})
        rows = build.constant(np.array(len(found.cos.table), np.int64))
        shared[key] = build.node("Expand", [build.node("Mod", [places, rows]), wanted])
    return shared[key]
