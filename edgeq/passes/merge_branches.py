"""Merges linear branches of one value that are added up: one layer computes their sum.

A sum of convolutions of x is the convolution by the sum of their kernels, smaller kernels laid into
larger ones where their padding puts them; x itself, and arithmetic per channel on it, is one of
kernel 1. Networks are trained that way and meant to run as one layer each (Ding et al., RepVGG:
Making VGG-style ConvNets Great Again, CVPR 2021; MobileOne, FastViT). The same goes for products
by matrices. What comes out never has more weights than the branches have together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import affine as affines
from edgeq.passes import edits, kernels
from edgeq.passes import layer as layers
from edgeq.passes.affine import Affine
from edgeq.passes.layer import Layer
from edgeq.passes.outcome import Outcome
from edgeq.passes.passages import Place
from edgeq.passes.pattern import Use, sole_reader, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.kernels import Kernel
    from edgeq.passes.outcome import Answer

_MOST_TERMS = 32
"""Sums of more than that are taken apart no further."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A branch that goes into a sum.

    Attributes:
        use: Which input of which node it is.
        sign: 1 where it is added in the end, -1 where it is subtracted.
        data: What it is computed from.
        layer: The layer that computes it, if one does.
        steps: Arithmetic that computes it otherwise, in the order that data flows; empty for the
            data itself.
    """

    use: Use
    sign: int
    data: ir.Value
    layer: Layer | None
    steps: tuple[affines.Step, ...] = ()


def merge_branches(model: ir.Model) -> Outcome:
    """Merge layers that read the same value and are added up."""
    names = rewire.Names(model)
    answers = [a for node in walk.nodes(model) if _is_sum(node) for a in _merge(node, names)]
    return Outcome.of(answers)


def _is_sum(node: ir.Node) -> bool:
    if not is_op(node, "Add", "Sub", "Sum") or len(node.inputs) < 2 or node.graph is None:
        return False
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return False
    return not any(v is None or constants.is_constant(v) for v in node.inputs)


def _merge(root: ir.Node, names: Names) -> Iterator[Answer]:
    """Merge pairs of branches below a sum until no pair is left that can be."""
    current: ir.Node | None = root
    while current is not None and _is_sum(current):
        answers = _merge_pair(_terms(current), names)
        refused = [answer for answer, _ in answers if isinstance(answer, str)]
        done = next((left for answer, left in answers if answer is True), None)
        if done is None:
            yield from refused
            return
        yield True
        current = current if current.graph is not None else done.producer()


def _merge_pair(terms: list[_Term], names: Names) -> list[tuple[Answer, ir.Value | None]]:
    """Try pairs until one is merged; the answers, with what is left of the last sum."""
    answers: list[tuple[Answer, ir.Value | None]] = []
    for pair in combinations(terms, 2):
        kept, other = sorted(pair, key=_preference, reverse=True)
        if kept.layer is None or kept.data is not other.data or not _is_free(other, kept):
            continue
        answers.append(_join(kept, kept.layer, other, names))
        if answers[-1][0] is True:
            break
    return answers


def _preference(term: _Term) -> tuple[bool, bool, int]:
    """What makes a branch the one to keep: a layer, one with a bias, the most taps."""
    layer = term.layer
    return (False, False, 0) if layer is None else (True, layer.has_bias, layer.view[3])


def _terms(root: ir.Node) -> list[_Term]:
    """The branches of a sum, those of sums that go only into it included."""
    found: list[_Term] = []
    waiting = [(root, 1)]
    while waiting:
        node, sign = waiting.pop()
        for index, value in enumerate(node.inputs):
            own = -sign if is_op(node, "Sub") and index == 1 else sign
            inner = None if value is None else value.producer()
            if value is None:
                continue
            alone = sole_reader(value) is not None
            if alone and inner is not None and _is_sum(inner) and len(found) < _MOST_TERMS:
                waiting.append((inner, own))
            else:
                found.append(_term(Use(node, index), own, value, inner if alone else None))
    return found


def _term(use: Use, sign: int, value: ir.Value, producer: ir.Node | None) -> _Term:
    if producer is not None and is_op(producer, "Conv", "Gemm", "MatMul"):
        layer, data = layers.read(producer), producer.inputs[0]
        if isinstance(layer, Layer) and data is not None:
            return _Term(use, sign, data, layer)
    steps: list[affines.Step] = []
    while (step := _step(value)) is not None:
        steps.append(step)
        value = step.data
    return _Term(use, sign, value, None, tuple(reversed(steps)))


def _step(value: ir.Value) -> affines.Step | None:
    """The arithmetic that computes a value, if that is read once."""
    node = value.producer()
    if node is None or not node.inputs or sole_reader(value) is None:
        return None
    return affines.read(node, rank_of(node.inputs[0]))


def _is_free(other: _Term, kept: _Term) -> bool:
    """Whether a branch can leave its sum: what it is diminished by would need another sign."""
    node = other.use.node
    return not (is_op(node, "Sub") and other.use.index == 0) or kept.use.node is node


def _join(kept: _Term, layer: Layer, other: _Term, names: Names) -> tuple[Answer, ir.Value | None]:
    """Let the layer of one branch compute the other one as well."""
    mine, theirs = kernels.read(layer), _kernel(other, layer)
    if mine is None or theirs is None:
        return False, None
    sign = kept.sign
    if is_op(other.use.node, "Sub") and other.use.index == 0:
        sign = -kept.sign
    total = kernels.add(mine.times(kept.sign * sign), theirs.times(other.sign * sign))
    if total is None or (total.bias.any() and not layer.has_bias):
        return False, None
    together = mine.weight.size + (theirs.weight.size if other.layer is not None else 0)
    place = f"{where(layer.node)} and what is added to it"
    if total.weight.size > together:
        many = f"{total.weight.size} weights instead of {together}"
        return f"{place}: merged, they would have {many}", None
    if not kernels.write(layer, total, names):
        return f"{place}: merged, they overflow their type", None
    return True, _take_out(other)


def _kernel(term: _Term, like: Layer) -> Kernel | None:
    """A branch as a layer of the same kind as ``like``."""
    if term.layer is not None:
        same = is_op(term.layer.node, "Conv") == is_op(like.node, "Conv")
        return kernels.read(term.layer) if same and term.layer.dtype == like.dtype else None
    channels = like.in_channels
    if channels != like.out_channels:
        return None
    place = Place(like.rank, like.axis, (channels,))
    total = Affine(np.ones(channels), np.zeros(channels))
    for step in term.steps:
        each = affines.per_channel(step.affine, place)
        if each is None:
            return None
        total = total.then(each)
    return kernels.pointwise(like, total)


def _take_out(term: _Term) -> ir.Value:
    """Leave a branch out of its sum; returns what stands for the sum that it went into."""
    node, index = term.use.node, term.use.index
    output = node.outputs[0]
    rest = [v for i, v in enumerate(node.inputs) if i != index and v is not None]
    if len(rest) == 1:
        if rest[0].shape is None or rest[0].shape != output.shape:
            _forget_shapes(output)
        rewire.take_place(output, rest[0])
        rewire.remove(node)
        output = rest[0]
    else:
        for position, left in enumerate(rest):
            node.replace_input_with(position, left)
        node.resize_inputs(len(rest))
    dead = [step.node for step in term.steps] if term.layer is None else [term.layer.node]
    edits.drop(dead[::-1])
    return output


def _forget_shapes(output: ir.Value) -> None:
    """Sums below another one that a branch no longer broadcasts have shapes that are not known."""
    above = sole_reader(output)
    while above is not None and _is_sum(above.node):
        output = above.node.outputs[0]
        above = sole_reader(output)
        if above is not None and _is_sum(above.node):
            output.shape = None
