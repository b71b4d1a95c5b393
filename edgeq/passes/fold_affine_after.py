"""Folds BatchNormalization and constant Add, Sub, Mul, Div, Neg into the layer in front of them.

A chain of such nodes behind a Conv, ConvTranspose, Gemm or MatMul becomes part of its weight and
bias. A MatMul has no bias: what the chain adds stays as one Add. Views, pools and rectifiers may
stand between (:mod:`passages`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.passes import affine as affines
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.affine import Affine
from edgeq.passes.outcome import Outcome
from edgeq.passes.passages import Passages, Place, moves_only
from edgeq.passes.pattern import sole_reader, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer


@dataclass(frozen=True, slots=True)
class _Chain:
    """Affine nodes in the order that data flows through them, and what they do together."""

    steps: tuple[affines.Step, ...]
    total: Affine


def fold_affine_after(model: ir.Model) -> Outcome:
    """Fold constant per-channel arithmetic behind a layer into it."""
    names, passages = rewire.Names(model), Passages(model)
    return Outcome.of([_fold(node, names, passages) for node in walk.nodes(model)])


def _fold(node: ir.Node, names: Names, passages: Passages) -> Answer:
    layer = layers.read(node)
    if layer is None:
        return False
    if isinstance(layer, str):
        return layer if _affine_reader(node, rank_of(node.outputs[0])) else False
    chain = _chain(layer, passages)
    if not chain.steps:
        return _why_not(layer)
    shift = None if layer.has_bias or not chain.total.shifts else chain.total.shift
    if len(chain.steps) <= (shift is not None) and not _is_apart(layer, chain):
        return False
    if not layers.write(layer, layers.numbers(layer).after(layer, chain.total), names):
        return f"{where(node)}: folding what follows it would overflow its type"
    affines.bypass(chain.steps)
    if shift is not None:
        output = node.outputs[0]
        rewire.take_place(output, add_behind(layer, shift, names, like=output))
    return True


def _is_apart(layer: Layer, chain: _Chain) -> bool:
    """Whether something stands between a layer and the arithmetic: next to it, runtimes fuse."""
    return chain.steps[0].data is not layer.node.outputs[0]


def _why_not(layer: Layer) -> Answer:
    reader = _affine_reader(layer.node, layer.rank)
    if reader is None:
        return False
    why = "is not per channel" if sole_reader(layer.node.outputs[0]) else "is not the only reader"
    return f"{where(reader)} behind {where(layer.node)} {why}"


def add_behind(
    layer: Layer, shift: affines.Float64, names: Names, *, like: ir.Value | None = None
) -> ir.Value:
    """Stand an Add of one constant per channel behind a layer; returns its output."""
    node = layer.node
    constant = edits.constant(node, shift.astype(layer.dtype), names, f"{node.name}__shift")
    inputs = [node.outputs[0], constant]
    return edits.add_node(node, "Add", inputs, names, f"{node.name}__add", like=like, behind=True)


def _affine_reader(node: ir.Node, rank: int | None) -> ir.Node | None:
    """A node that is affine in the output of ``node``."""
    output = node.outputs[0]
    for reader in output.consumers():
        step = affines.read(reader, rank)
        if step is not None and step.data is output:
            return reader
    return None


def _chain(layer: Layer, passages: Passages) -> _Chain:
    place = Place(layer.rank, layer.axis, (layer.out_channels,))
    steps: list[affines.Step] = []
    total = Affine(np.ones(layer.out_channels), np.zeros(layer.out_channels))
    value = layer.node.outputs[0]
    while (use := sole_reader(value)) is not None:
        step = affines.read(use.node, place.rank)
        if step is None or step.data is not value:
            # Without a bias the shift stays an Add next to the layer: not in front of a reduction.
            open_to = use.index == 0 and (layer.has_bias or moves_only(use.node))
            found = passages.behind(use.node, place) if open_to else None
            if found is None:
                break
            place = found
        else:
            each = affines.per_channel(step.affine, place)
            if each is None or not place.admits(each):
                break
            steps.append(step)
            total = total.then(each)
        value = use.node.outputs[0]
    return _Chain(tuple(steps), total)
