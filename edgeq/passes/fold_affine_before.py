"""Folds BatchNormalization and constant Add, Sub, Mul, Div, Neg into the layer behind them.

What a layer's input is scaled by moves into its weight. What is added to its input moves into its
bias unless the layer pads with zeros: the border would not follow. Then only the scale moves and
one Add stays in front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import affine as affines
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.affine import Affine
from edgeq.passes.fold_affine_after import add_behind
from edgeq.passes.outcome import Outcome
from edgeq.passes.passages import Passages, Place
from edgeq.passes.pattern import constant_operand, sole_reader, spells_fusion, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer

_LARGEST_REST = 1e3
"""Largest ratio of shift to scale that stays in front of a padded layer: beyond it the addition
would cost float32 digits of x."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """Affine nodes in the order that data flows through them.

    Attributes:
        steps: The nodes.
        total: What they do together.
    """

    steps: tuple[affines.Step, ...]
    total: Affine


@dataclass(frozen=True, slots=True)
class _Split:
    """A chain's map as ``moves`` after ``stays``: only the former goes into the layer."""

    moves: Affine
    stays: affines.Float64 | None = None


def fold_affine_before(model: ir.Model) -> Outcome:
    """Fold constant per-channel arithmetic in front of a layer into it."""
    names, passages = rewire.Names(model), Passages(model)
    return Outcome.of([_fold(node, names, passages) for node in walk.nodes(model)])


def _fold(node: ir.Node, names: Names, passages: Passages) -> Answer:
    layer = layers.read(node)
    if layer is None or isinstance(layer, str) or node.inputs[0] is None:
        return False
    if is_op(node, "Gemm") and node.attributes.get_int("transA", 0) != 0:
        return False
    chain = _chain(layer, node.inputs[0], passages)
    if not chain.steps:
        return False
    split = _split(layer, chain)
    if isinstance(split, str):
        return f"{where(chain.steps[-1].node)} in front of {where(node)}: {split}"
    new = layers.numbers(layer).before(layer, split.moves)
    if not layers.write(layer, new, names):
        return f"{where(node)}: folding what precedes it would overflow its type"
    if not layer.has_bias and np.any(new.bias):
        output = node.outputs[0]
        rewire.take_place(output, add_behind(layer, new.bias, names, like=output))
    affines.bypass(chain.steps)
    if split.stays is not None:
        _shift(layer, split.stays, names)
    return True


def _shift(layer: Layer, shift: affines.Float64, names: Names) -> None:
    """Stand an Add of one constant per channel in front of a layer."""
    base, data = f"{layer.node.name}__before", layer.node.inputs[0]
    spread = shift.reshape((-1,) + (1,) * (-layer.axis - 1)).astype(layer.dtype)
    constant = edits.constant(layer.node, spread, names, base)
    new = edits.add_node(layer.node, "Add", [data, constant], names, base, like=data)
    layer.node.replace_input_with(0, new)


def _chain(layer: Layer, value: ir.Value, passages: Passages) -> _Chain:
    place = Place(layer.rank, layer.axis, (layer.in_channels,))
    steps: list[affines.Step] = []
    total = Affine(np.ones(layer.in_channels), np.zeros(layer.in_channels))
    while (node := value.producer()) is not None and sole_reader(value) is not None:
        if place.rank is None:
            place = replace(place, rank=rank_of(value))
        step = affines.read(node, place.rank)
        if step is None:
            found = passages.in_front(node, place) if node.inputs else None
            if found is None or node.inputs[0] is None:
                break
            place, value = found, node.inputs[0]
            continue
        each = affines.per_channel(step.affine, place) if _keeps_shape(step, place) else None
        if each is None or not place.admits(each):
            break
        steps.insert(0, step)
        total, value = each.then(total), step.data
    return _Chain(tuple(steps), total)


def _keeps_shape(step: affines.Step, place: Place) -> bool:
    """Whether the constant enlarges nothing: x has the layer's rank and channels by itself."""
    arrays = (step.affine.scale, step.affine.shift)
    if max(a.ndim for a in arrays) == place.rank and rank_of(step.data) != place.rank:
        return False
    if max(a.size for a in arrays) == 1 or place.sizes == (1,):
        return True
    shape = step.data.shape
    if shape is None or len(shape) < -place.axis:
        return False
    start = len(shape) + place.axis
    return tuple(shape[start : start + len(place.sizes)]) == place.sizes


def _split(layer: Layer, chain: _Chain) -> _Split | str:
    """What of a chain moves into the layer and what stays, or why all stays."""
    total, length, first = chain.total, len(chain.steps), chain.steps[0].node
    if any(v is not None and spells_fusion(v) for v in first.inputs):
        return "it ends arithmetic that the runtime fuses"
    if not total.finite:
        return "its numbers do not fit float32"
    if not total.shifts:
        return _Split(total)
    if layer.shift_is_constant:
        if layer.has_bias or length > 1 or _absorbs(layer):
            return _Split(total)
        return "moving one addition behind the product gains nothing"
    if length == 1 and not is_op(first, "BatchNormalization"):
        return "a shift is not constant at the zero-padded border"
    if np.any(total.scale == 0):
        return "a shift is not constant at the zero-padded border and a scale is zero"
    ratio = total.shift / total.scale
    if np.abs(ratio).max() > _LARGEST_REST:
        return "a shift is not constant at the zero-padded border and dwarfs the scale"
    return _Split(Affine(total.scale, np.zeros_like(ratio)), ratio)


def _absorbs(layer: Layer) -> bool:
    """Whether a constant addition behind the layer takes up another one."""
    use = sole_reader(layer.node.outputs[0])
    if use is None or not is_op(use.node, "Add", "Sub"):
        return False
    return constant_operand(use.node) is not None
