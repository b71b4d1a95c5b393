"""Weights of which no two saturate the sum of two products in 16 bits.

x86 without VNNI multiplies unsigned by signed bytes and adds each two neighbouring products in
16 bits (VPMADDUBSW): a0 * w0 + a1 * w1 saturates at 32767. onnxruntime packs four steps of the
reduction side by side, in the order of channels last for convolutions: the first and the second are
added, the third and the fourth, and so on (onnxruntime/core/mlas/lib/qgemm_kernel_avx2.cpp,
core/providers/cpu/quantization/qlinearconv.cc; ``benchmarks/avx2.py`` tries every pair).

An activation is taken for 255, the largest that it can be, whatever is fed. With int8 weights a
pair is safe when its weights of one sign add up to 128 at most. Where they do not, the scale of
their channel is raised as far as it takes: seven bits are the worst case of that, not the rule.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.ops import rule_for
from edgeq.quantization import affine
from edgeq.quantization.padding import with_channels, without_channels
from edgeq.types import QuantParams, QuantType

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.types import Array, FloatArray, IntArray

LIMIT = 2**15 - 1
"""The largest sum of two products."""

HIGHEST = QuantType.UINT8.qmax
"""The largest activation."""

_MIDDLE = 128
_MORE = 1.0 + 2**-9
"""Rounding may undo a bit of what was gained: the next step is this much longer."""


class PairForm(enum.Enum):
    """What is done about pairs that saturate."""

    FULL = "full"
    """Nothing: weights use 8 bits."""
    NARROW = "narrow"
    """The scales of channels with such a pair are raised until it has none."""
    UNSIGNED = "unsigned"
    """Weights are stored as uint8: their kernels add in 32 bits, and are slower."""


@dataclass(frozen=True, slots=True)
class PairNote:
    """A layer of which two products can saturate with 8-bit weights.

    Attributes:
        node: Its name.
        input: Number of the input that is the weight.
        worst: The largest magnitude of a0 * w0 + a1 * w1.
        form: What was done about it.
    """

    node: str
    input: int
    worst: int
    form: PairForm


def rows_in_order(weight: IntArray, order: tuple[int, ...]) -> IntArray:
    """The integers of a weight as a matrix: what is added up in a row, in the order in which it is.

    Args:
        weight: Integers of any shape.
        order: The axes that are added over, outermost first.

    Returns:
        Array [outputs, products]; outputs in the order of the other axes.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis not in order)
    turned = weight.transpose((*others, *order))
    products = int(np.prod([weight.shape[axis] for axis in order], dtype=np.int64))
    return turned.reshape(-1, products)


def pair_sums(rows: IntArray) -> IntArray:
    """Of each two that are added, the larger magnitude that weights of one sign add up to.

    Args:
        rows: Integers [outputs, products], the zero point taken off.

    Returns:
        int64 [outputs, ceil(products / 2)]; what is left over is a pair with zero.
    """
    pairs = _paired(rows)
    found: IntArray = np.maximum(
        np.maximum(pairs, 0).sum(axis=2), np.maximum(-pairs, 0).sum(axis=2)
    )
    return found


def _paired(rows: IntArray) -> IntArray:
    """int64 [outputs, pairs, 2]."""
    wide = np.pad(rows.astype(np.int64), ((0, 0), (0, rows.shape[1] % 2)))
    return wide.reshape(len(rows), -1, 2)


def worst_sum(integers: IntArray, order: tuple[int, ...]) -> int:
    """The largest magnitude of a0 * w0 + a1 * w1 over all pairs of a weight."""
    sums = pair_sums(rows_in_order(integers, order))
    return int(sums.max(initial=0)) * HIGHEST


def narrowed(params: QuantParams, weight: Array, order: tuple[int, ...]) -> QuantParams:
    """Numbers with which no pair of the weight saturates.

    Args:
        params: Symmetric numbers of an int8 weight.
        weight: Float array.
        order: The axes that are added over, outermost first.

    Returns:
        The same numbers with the scales raised of channels that need it.
    """
    found, most = params, LIMIT // HIGHEST
    while True:
        worst = _by_channel(affine.quantize(weight, found), found.axis, order)
        if int(worst.max(initial=0)) <= most:
            return found
        factor = np.where(worst > most, worst / most * _MORE, 1.0)
        scale = (found.scale.astype(np.float64) * factor.reshape(found.scale.shape)).astype(
            np.float32
        )
        found = QuantParams(scale, found.zero_point, found.dtype, found.axis)


def _by_channel(integers: IntArray, axis: int | None, order: tuple[int, ...]) -> FloatArray:
    """The largest sum of a pair in each channel; of all where there is one scale."""
    sums = pair_sums(rows_in_order(integers, order)).max(axis=1, initial=0)
    if axis is None:
        return np.asarray([sums.max(initial=0)], np.float64)
    others = [place for place in range(integers.ndim) if place not in order]
    grid = sums.reshape([integers.shape[place] for place in others])
    rest = tuple(place for place, which in enumerate(others) if which != axis)
    return np.asarray(grid.max(axis=rest, initial=0), np.float64)


def unsigned(params: QuantParams) -> QuantParams:
    """The same numbers for uint8: every integer is 128 more."""
    return QuantParams(params.scale, params.zero_point + _MIDDLE, QuantType.UINT8, params.axis)


def settled(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """A model in which no step that chose integers of its own has made a pair saturate again.

    Rounding a weight up that plain rounding takes down can bring a pair above the limit by a step
    or two: the larger of the two gives way.

    Args:
        model: The float model that is about to be quantized; not changed.
        plan: Its numbers, with notes on pairs.

    Returns:
        The model, or a copy with some weights changed.
    """
    numbers = {entry.edge: entry.params for entry in plan.weights}
    numbers |= {e.edge: e.params for entries in plan.dynamic.values() for e in entries}
    narrow = {(n.node, n.input) for n in plan.pairs if n.form is PairForm.NARROW}
    padded = {d.node: d.padded for d in plan.decisions if d.padded}
    changed: dict[tuple[str, int], Array] = {}
    by_name = {node_name(node): node for node in nodes(model)}
    for edge, params in numbers.items():
        node = by_name.get(edge.node)
        data = None if node is None else constants.array(node.inputs[edge.input])
        if node is None or data is None or (edge.node, edge.input) not in narrow:
            continue
        order, added = reduction(node, edge.input), padded.get(edge.node, 0)
        integers = affine.quantize(with_channels(data, added), params)
        if order is not None and worst_sum(integers, order) > LIMIT:
            safe = _give_way(integers, order)
            exact = without_channels(affine.dequantize(safe, params), added)
            kept = without_channels(safe == integers, added)
            changed[edge.node, edge.input] = np.where(kept, data, exact).astype(data.dtype)
    return _with_weights(model, changed) if changed else model


def reduction(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """The axes of a weight that products are added over, in order; None where no rule says."""
    rule, tensor = rule_for(node), constants.tensor(node.inputs[index])
    if rule is None or rule.reduction is None or tensor is None:
        return None
    return rule.reduction(node, len(tensor.shape))


def _give_way(integers: IntArray, order: tuple[int, ...]) -> IntArray:
    """The integers with the larger of two made smaller wherever both saturate."""
    axes = (*(axis for axis in range(integers.ndim) if axis not in order), *order)
    rows = rows_in_order(integers, order)
    pairs = _paired(rows)
    excess = np.maximum(pair_sums(rows) - LIMIT // HIGHEST, 0)[..., None]
    larger = np.abs(pairs).argmax(axis=2, keepdims=True)
    chosen = np.take_along_axis(pairs, larger, axis=2)
    np.put_along_axis(pairs, larger, chosen - np.sign(chosen) * excess, axis=2)
    safe = pairs.reshape(len(rows), -1)[:, : rows.shape[1]]
    shape = [integers.shape[axis] for axis in axes]
    return safe.reshape(shape).transpose(np.argsort(axes)).astype(integers.dtype)


def _with_weights(model: ir.Model, changed: dict[tuple[str, int], Array]) -> ir.Model:
    copy = model.clone()
    by_name = {node_name(node): node for node in nodes(copy)}
    names = rewire.Names(copy)
    for (name, index), data in changed.items():
        old = by_name[name].inputs[index]
        if old is not None:
            fresh = rewire.add_initializer(copy.graph, names.value(name_of(old)), data)
            by_name[name].replace_input_with(index, fresh)
    rewire.drop_unused_initializers(copy)
    return copy
