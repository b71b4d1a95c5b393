"""Fuses rotations of queries and keys by their places into onnxruntime's RotaryEmbedding.

Exporters write, with cosines and sines whose halves are alike::

    x * cos + Concat(-x[half:], x[:half]) * sin

which is seven small nodes for the queries and seven for the keys of each layer: a tenth and more of
the time of a decode step. What is [batch, tokens, heads * channels] to the operator is read and
made so, as GroupQueryAttention wants it, too. The operator wants tables [places, channels / 2] of
at least as many places as there are tokens (onnxruntime 1.31,
contrib_ops/cpu/bert/rotary_embedding_helper.h), and the rows of them to read. Angles are either
looked up in tables [places, channels], or computed from places as ``cos(Concat(a, a))``: the half
of them, one row for each token, is the operator's table, made once for all layers. Any onnxruntime
that edgeq takes has the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import told_sizes
from edgeq.graph.walk import MICROSOFT, is_op
from edgeq.passes import edits
from edgeq.passes.builder import Builder
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, produced_by, where
from edgeq.passes.symbolic import Symbols

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer

OPERATOR: Final = "RotaryEmbedding"

_RANK: Final = 4
_FUNCTIONS: Final = ("Cos", "Sin", "Mul", "Div")
"""What may be computed of angles, number by number, with a constant number at most."""


@dataclass(frozen=True, slots=True)
class _Angles:
    """Cosines or sines of angles, [batch or 1, tokens, channels], whose halves are alike.

    Attributes:
        source: What holds them.
        root: A Concat of something with itself, or a Gather of a table with halves that are alike.
        basis: The half that stands twice, or the places that are looked up.
        functions: What is computed of them, the first one first.
        sizes: Those of the source.
    """

    source: ir.Value
    root: ir.Node
    basis: ir.Value
    functions: tuple[ir.Node, ...]
    sizes: tuple[int | ir.SymbolicDim, ...]


@dataclass(frozen=True, slots=True)
class _Rotation:
    """A rotation.

    Attributes:
        value: What is rotated, [batch, heads, tokens, channels].
        rows: Batch and tokens.
        heads: Their number.
        channels: Of each head.
        cos: Cosines of the angles.
        sin: Sines, at the same places.
    """

    value: ir.Value
    rows: tuple[int | ir.SymbolicDim, ...]
    heads: int
    channels: int
    cos: _Angles
    sin: _Angles


def fuse_rotary(model: ir.Model) -> Outcome:
    """Put RotaryEmbedding in the place of rotations that are spelled out."""
    nodes = walk.nodes(model)
    if not any(is_op(node, "Neg") for node in nodes):
        return Outcome()
    names, look = rewire.Names(model), Symbols(model)
    shared: dict[object, ir.Value] = {}
    answers: list[Answer] = []
    for node in [n for n in nodes if is_op(n, "Add")]:
        found = _rotation(node, look)
        if isinstance(found, _Rotation):
            model.opset_imports.setdefault(MICROSOFT, 1)
            _rewrite(node, found, Builder(node, names), shared)
            answers.append(True)
        else:
            answers.append(found)
    count = sum(answer is True for answer in answers)
    told = f"{count} rotations of queries and keys by their places became one {OPERATOR} each"
    return Outcome.of(answers, [told] if count else ())


def _rotation(add: ir.Node, look: Symbols) -> _Rotation | Answer:
    for plain, turned in (add.inputs, reversed(add.inputs)):
        one, other = produced_by(plain, "Mul"), produced_by(turned, "Mul")
        if one is None or other is None:
            return False
        for place, turn in enumerate(other.inputs):
            value = _turned(turn)
            if value is None or value not in one.inputs:
                continue
            factor = one.inputs[1 - one.inputs.index(value)]
            return _checked(add, look, value, factor, other.inputs[1 - place])
    return False


def _checked(
    add: ir.Node,
    look: Symbols,
    value: ir.Value,
    cosines: ir.Value | None,
    sines: ir.Value | None,
) -> _Rotation | str:
    cos, sin = _angles(cosines), _angles(sines)
    if cos is None or sin is None or cos.basis is not sin.basis:
        return f"{where(add)}: the halves of its angles are not known to be alike"
    shape, made = look.shape(value), look.shape(add.outputs[0])
    if shape is None or made is None or value.dtype is not ir.DataType.FLOAT:
        return f"{where(add)}: what it turns is not known to be float32 of some shape"
    heads, channels = shape[1], shape[3]
    if not isinstance(heads, int) or not isinstance(channels, int):
        return f"{where(add)}: the number of heads or channels is not known"
    if not cos.sizes[2] == sin.sizes[2] == channels:
        return f"{where(add)}: there are not as many angles as a head has channels"
    # The kernel takes neither more angles than tokens nor fewer rows of a table.
    repeated = any(shape[axis] == 1 != made[axis] for axis in (0, 2))
    if repeated or cos.sizes[1] == 1 != shape[2]:
        return f"{where(add)}: there is not one angle for each token"
    stored = value.shape or ir.Shape([None] * _RANK)
    rows = (n if isinstance(n := shape[axis], int) else stored[axis] for axis in (0, 2))
    return _Rotation(value, tuple(rows), heads, channels, cos, sin)


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


def _angles(value: ir.Value | None) -> _Angles | None:
    """What [batch, 1, tokens, channels] is made of, if its halves are alike."""
    unsqueeze = produced_by(value, "Unsqueeze")
    if unsqueeze is None or ints(unsqueeze, 1, "axes") not in ((1,), (-3,)):
        return None
    made = unsqueeze.inputs[0]
    functions: list[ir.Node] = []
    while (node := produced_by(made, *_FUNCTIONS)) is not None:
        varying = [v for v in node.inputs if constants.scalar(v) is None]
        if len(varying) != 1:
            return None
        functions.insert(0, node)
        made = varying[0]
    root, source = produced_by(made, "Concat", "Gather"), unsqueeze.inputs[0]
    if source is None or root is None or not (_is_twice(root) or _looks_up(root)):
        return None
    basis, shapes = root.inputs[1], (source.shape, root.outputs[0].shape)
    if basis is None or any(shape is None or len(shape) != _RANK - 1 for shape in shapes):
        return None
    return _Angles(source, root, basis, tuple(functions), tuple(source.shape or ()))


def _is_twice(node: ir.Node) -> bool:
    """Whether it puts something [batch, tokens, channels / 2] behind itself."""
    if not is_op(node, "Concat") or len(node.inputs) != 2:
        return False
    axis = node.attributes.get_int("axis", 0)
    return node.inputs[0] is node.inputs[1] and axis in (-1, _RANK - 2)


def _looks_up(node: ir.Node) -> bool:
    """Whether it reads rows of a table [places, channels] whose halves are alike."""
    table = constants.array(node.inputs[0]) if is_op(node, "Gather") else None
    if table is None or table.ndim != 2 or node.attributes.get_int("axis", 0) not in (0, -2):
        return False
    half = table.shape[1] // 2
    return table.shape[1] % 2 == 0 and np.array_equal(table[:, :half], table[:, half:])


def _rewrite(
    add: ir.Node, found: _Rotation, build: Builder, shared: dict[object, ir.Value]
) -> None:
    both = (found.cos, found.sin)
    tables = [_table(angles, found.channels, build, shared) for angles in both]
    flat = build.flat(found.value, found.heads * found.channels)
    places = _places(found, tables[0], build, shared)
    rotated = build.node(OPERATOR, [flat, places, *tables], domain=MICROSOFT)
    # onnx infers nothing of other domains, and views that cancel are told by shapes.
    rotated.shape = ir.Shape([*found.rows, found.heads * found.channels])
    rewire.take_place(add.outputs[0], build.by_heads(rotated, found.heads, found.channels))


def _table(
    angles: _Angles, channels: int, build: Builder, shared: dict[object, ir.Value]
) -> ir.Value:
    """A row for each place that is looked up or computed, float32 [rows, channels / 2]."""
    key = (build.anchor.graph, angles.source)
    if key not in shared:
        value = _half(angles, build)
        for function in angles.functions:
            numbers = [v if constants.is_constant(v) else None for v in function.inputs]
            inputs = [value if number is None else number for number in numbers]
            value = build.node(function.op_type, inputs)
        shared[key] = build.node("Reshape", [value, build.integers(-1, channels // 2)])
    return shared[key]


def _half(angles: _Angles, build: Builder) -> ir.Value:
    """One of the halves of what the functions are of, [batch or 1, tokens, channels / 2]."""
    table = constants.array(angles.root.inputs[0]) if is_op(angles.root, "Gather") else None
    if table is None:
        return angles.basis
    base = f"{angles.source.name}__half"
    half = edits.constant(build.anchor, table[:, : table.shape[1] // 2], build.names, base)
    return build.node("Gather", [half, angles.basis])


def _places(
    found: _Rotation, table: ir.Value, build: Builder, shared: dict[object, ir.Value]
) -> ir.Value:
    """The row of the table for each token, int64 [batch, tokens].

    Broadcasting may give all of a batch the same ones.
    """
    key = (build.anchor.graph, table, told_sizes(found.value, 0, 2) or found.value)
    if key not in shared:
        zero, one = (build.constant(np.array(number, np.int64)) for number in (0, 1))
        count = build.node("Gather", [build.node("Shape", [table]), zero])
        whole = build.node("Shape", [found.cos.basis])
        sizes = build.node("Gather", [whole, build.integers(0, 1)])
        rows = build.node("Reshape", [build.node("Range", [zero, count, one]), sizes])
        whole = build.node("Shape", [found.value])
        wanted = build.node("Gather", [whole, build.integers(0, 2)])
        shared[key] = build.node("Expand", [rows, wanted])
    return shared[key]
