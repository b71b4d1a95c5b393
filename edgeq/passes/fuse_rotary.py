"""Fuses rotations of queries and keys by their places into onnxruntime's RotaryEmbedding.

Exporters write, with cosines and sines whose halves are alike::

    x * cos + Concat(-x[half:], x[:half]) * sin

which is seven small nodes for the queries and seven for the keys of each layer: a tenth and more of
the time of a decode step. What is [batch, tokens, heads * channels] to the operator is read and
made so, as GroupQueryAttention wants it, too. The operator wants tables [places, channels / 2] and
the rows of them to read. Angles are either such rows, of tables [places, channels], or computed
from places as ``cos(Concat(a, a))``: then the half of them is a table of its own, one row for each
token, made once for all layers. Any onnxruntime that edgeq takes has the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.builder import Builder
from edgeq.passes.fuse_cached_attention import DOMAIN
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, produced_by, where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer
    from edgeq.types import FloatArray

OPERATOR: Final = "RotaryEmbedding"

_RANK: Final = 4
_SCALING: Final = ("Mul", "Div")
_FUNCTIONS: Final = ("Cos", "Sin", *_SCALING)
"""What may be computed of angles, number by number, with a constant number at most."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """Rows of a table of angles: their numbers [places, channels / 2], and which rows."""

    table: FloatArray
    source: ir.Value
    places: ir.Value

    @property
    def channels(self) -> int | None:
        """Channels of a head that they turn."""
        return 2 * self.table.shape[1]

    def goes_with(self, other: _Looked | _Computed) -> bool:
        """Whether the same rows are read of both."""
        if not isinstance(other, _Looked):
            return False
        return self.places is other.places and len(self.table) == len(other.table)


@dataclass(frozen=True, slots=True)
class _Computed:
    """Cosines or sines of angles.

    Attributes:
        source: [batch, tokens, channels]; its halves are alike.
        half: What stands twice in what the functions are of, [batch, tokens, channels / 2].
        functions: What is computed of it, the first one first.
    """

    source: ir.Value
    half: ir.Value
    functions: tuple[ir.Node, ...]

    @property
    def channels(self) -> int | None:
        """Channels of a head that they turn."""
        shape = self.source.shape
        size = None if shape is None else shape[2]
        return size if isinstance(size, int) else None

    def goes_with(self, other: _Looked | _Computed) -> bool:
        """Whether both are of the same angles."""
        return isinstance(other, _Computed) and self.half is other.half


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
    cos: _Looked | _Computed
    sin: _Looked | _Computed


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
    cos, sin = _angles(cosines), _angles(sines)
    if cos is None or sin is None or not cos.goes_with(sin):
        return f"{where(add)}: the halves of its angles are not known to be alike"
    shape = value.shape
    heads, channels = (None, None) if shape is None else (shape[1], shape[3])
    if not isinstance(heads, int) or not isinstance(channels, int):
        return f"{where(add)}: the number of heads or channels is not known"
    if not cos.channels == sin.channels == channels:
        return f"{where(add)}: there are not as many angles as a head has channels"
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


def _angles(value: ir.Value | None) -> _Looked | _Computed | None:
    """What [batch, 1, tokens, channels] is made of, if its halves are alike."""
    unsqueeze = produced_by(value, "Unsqueeze")
    if unsqueeze is None or ints(unsqueeze, 1, "axes") not in ((1,), (-3,)):
        return None
    return _looked_up(unsqueeze.inputs[0]) or _computed(unsqueeze.inputs[0])


def _computed(source: ir.Value | None) -> _Computed | None:
    functions: list[ir.Node] = []
    value = source
    while (node := produced_by(value, *_FUNCTIONS)) is not None:
        if node.op_type in _SCALING and constants.scalar(node.inputs[1]) is None:
            return None
        functions.insert(0, node)
        value = node.inputs[0]
    concat = produced_by(value, "Concat")
    if concat is None or source is None or source.shape is None or len(source.shape) != _RANK - 1:
        return None
    half = concat.inputs[0]
    twice = len(concat.inputs) == 2 and half is concat.inputs[1]
    if half is None or not twice or concat.attributes.get_int("axis", 0) not in (-1, _RANK - 2):
        return None
    return _Computed(source, half, tuple(functions))


def _looked_up(value: ir.Value | None) -> _Looked | None:
    gather = produced_by(value, "Gather")
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
    tables = [_table(angles, build, shared) for angles in (found.cos, found.sin)]
    flat = build.flat(found.value, found.heads * found.channels)
    rotated = build.node(OPERATOR, [flat, _places(found, tables[0], build, shared), *tables])
    node = rotated.producer()
    if node is None:
        raise ValueError("a node was made that makes nothing")
    node.domain = DOMAIN
    # onnx infers nothing of other domains, and views that cancel are told by shapes.
    shape = found.value.shape
    if shape is not None:
        rotated.shape = ir.Shape([shape[0], shape[2], found.heads * found.channels])
    rewire.take_place(add.outputs[0], build.by_heads(rotated, found.heads, found.channels))


def _table(angles: _Looked | _Computed, build: Builder, shared: dict[object, ir.Value]) -> ir.Value:
    """The numbers that the operator reads rows of, float32 [places, channels / 2]."""
    key = (build.anchor.graph, angles.source)
    if key not in shared and isinstance(angles, _Looked):
        base = f"{angles.source.name}__half"
        shared[key] = edits.constant(build.anchor, angles.table, build.names, base)
    elif key not in shared and isinstance(angles, _Computed):
        value = angles.half
        for function in angles.functions:
            others = [v for v in function.inputs[1:] if v is not None]
            value = build.node(function.op_type, [value, *others])
        half = (angles.channels or 0) // 2
        shared[key] = build.node("Reshape", [value, build.integers(-1, half)])
    return shared[key]


def _places(
    found: _Rotation, table: ir.Value, build: Builder, shared: dict[object, ir.Value]
) -> ir.Value:
    """The rows of the tables, int64 [batch, tokens], as the operator wants them.

    Broadcasting may give all of a batch the same ones.
    """
    shape = found.value.shape
    sizes = () if shape is None else (str(shape[0]), str(shape[2]))
    alike: object = sizes if sizes and "None" not in sizes else found.value
    key = (build.anchor.graph, table, alike)
    if key not in shared:
        whole = build.node("Shape", [found.value])
        wanted = build.node("Gather", [whole, build.integers(0, 2)])
        shared[key] = build.node("Expand", [_rows(found.cos, table, build), wanted])
    return shared[key]


def _rows(angles: _Looked | _Computed, table: ir.Value, build: Builder) -> ir.Value:
    """Which rows of the table there are for each token, int64 [batch or 1, tokens]."""
    if isinstance(angles, _Looked):
        # Gather counts negative ones from the end.
        places = build.node("Cast", [angles.places], {"to": int(ir.DataType.INT64)})
        return build.node("Mod", [places, build.constant(np.array(len(angles.table), np.int64))])
    zero, one = (build.constant(np.array(number, np.int64)) for number in (0, 1))
    count = build.node("Gather", [build.node("Shape", [table]), zero])
    whole = build.node("Shape", [angles.half])
    sizes = build.node("Gather", [whole, build.integers(0, 1)])
    return build.node("Reshape", [build.node("Range", [zero, count, one]), sizes])
