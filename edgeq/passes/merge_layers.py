"""Merges a layer with the layer behind it, where nothing stands between and it is no more work.

Two products in a row are one product: MatMul and Gemm in any order, a convolution and one of
kernel 1 behind it, one of kernel 1 and any convolution behind it unless that pads what the first
one shifts. The product of the weights must have no more numbers than the two have together; the
multiplications are then no more, either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import rank
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import sole_reader, where

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Float64
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """Weight and bias of one layer that does what two do; the weight as the op stores it."""

    weight: Float64
    bias: Float64


def merge_layers(model: ir.Model) -> Outcome:
    """Merge layers that follow each other without an activation."""
    names = rewire.Names(model)
    return Outcome.of([_merge(node, names) for node in walk.nodes(model)])


def _merge(node: ir.Node, names: Names) -> Answer:
    """Merge a node with the layer in front of it."""
    if not is_op(node, "MatMul", "Gemm", "Conv") or node.graph is None:
        return False
    data = node.inputs[0]
    earlier = None if data is None else data.producer()
    if data is None or earlier is None or sole_reader(data) is None:
        return False
    if not is_op(earlier, "MatMul", "Gemm", "Conv") or is_op(earlier, "Conv") != is_op(
        node, "Conv"
    ):
        return False
    first, second = layers.read(earlier), layers.read(node)
    if first is None or second is None or isinstance(first, str) or isinstance(second, str):
        return False
    if first.dtype != second.dtype:
        return False
    merge = _merge_convolutions if is_op(node, "Conv") else _merge_products
    return merge(first, second, names)


def _why_more(first: Layer, second: Layer, numbers: int) -> str | None:
    together = math.prod(first.view) + math.prod(second.view)
    if numbers <= together:
        return None
    return (
        f"{where(first.node)} and {where(second.node)}: merged, they would have {numbers} weights"
        f" instead of {together}"
    )


def _merge_products(first: Layer, second: Layer, names: Names) -> Answer:
    if any(n.attributes.get_int("transA", 0) for n in (first.node, second.node)):
        return False
    why = _why_more(first, second, first.in_channels * second.out_channels)
    if why is not None:
        return why
    a, b = _matrix(first), _matrix(second)
    bias = layers.numbers(first).bias @ b + layers.numbers(second).bias
    plain = is_op(first.node, "MatMul") and is_op(second.node, "MatMul")
    data, output, node = first.node.inputs[0], second.node.outputs[0], second.node
    if not plain and (rank(data) != 2 or rank(output) != 2):
        return False
    merged = _Merged(a @ b, bias)
    inputs = _constants(node, merged, first.dtype, names)
    if inputs is None:
        return f"{where(first.node)} and {where(node)}: merged, they overflow their type"
    kind, parameters = ("MatMul", inputs[:1]) if plain else ("Gemm", inputs)
    base = f"{node.name}__merged"
    new = edits.add_node(node, kind, [data, *parameters], names, base, like=output)
    rewire.take_place(output, new)
    edits.drop([node, first.node])
    return True


def _matrix(layer: Layer) -> Float64:
    """The weight of a product as [in, out], with the factor of a Gemm in it."""
    weight = layers.numbers(layer).weight.reshape(layer.view[1:3])
    alpha = layer.node.attributes.get_float("alpha", 1.0) if is_op(layer.node, "Gemm") else 1.0
    return alpha * (weight.T if layer.out_dim == 1 else weight)


def _constants(
    node: ir.Node, merged: _Merged, dtype: np.dtype[np.floating], names: Names
) -> list[ir.Value] | None:
    with np.errstate(over="ignore"):
        arrays = [merged.weight.astype(dtype), merged.bias.astype(dtype)]
    if not all(np.isfinite(array).all() for array in arrays):
        return None
    parts = zip(("weight", "bias"), arrays, strict=True)
    return [edits.constant(node, array, names, f"{node.name}__{what}") for what, array in parts]


def _merge_convolutions(first: Layer, second: Layer, names: Names) -> Answer:
    if first.view[0] != 1 or second.view[0] != 1 or _by_size(first) or _by_size(second):
        return False
    if second.view[3] == 1 and not layers.pads(second.node):
        kept = first
    elif _is_pointwise(first) and _meets_no_border(first, second):
        kept = second
    else:
        return False
    why = _why_more(first, second, second.out_channels * first.in_channels * kept.view[3])
    if why is not None:
        return why
    # One of the two has a single tap, which meets every tap of the other.
    earlier, later = (layers.numbers(layer) for layer in (first, second))
    inner = earlier.weight.reshape(first.view[1:])
    outer = later.weight.reshape(second.view[1:])
    taps = kept.view[3]
    weight = np.einsum("omk,mik->oik", _at(outer, taps), _at(inner, taps))
    stored = constants.tensor(kept.node.inputs[1])
    spatial = () if stored is None else stored.shape.numpy()[2:]
    shape = (second.out_channels, first.in_channels, *spatial)
    bias = outer.sum(axis=2) @ earlier.bias + later.bias
    return _replace(first, second, kept, _Merged(weight.reshape(shape), bias), names)


def _at(weight: Float64, taps: int) -> Float64:
    """The weight with its only tap at every one of ``taps``; one that has them all as it is."""
    return np.broadcast_to(weight, (*weight.shape[:2], taps))


def _by_size(layer: Layer) -> bool:
    """Whether the padding depends on the size of the input."""
    return layer.node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")


def _is_pointwise(layer: Layer) -> bool:
    strides = layer.node.attributes.get_ints("strides", ())
    return layer.view[3] == 1 and not layers.pads(layer.node) and set(strides) <= {1}


def _meets_no_border(first: Layer, second: Layer) -> bool:
    """Whether the zeros that the second pads with are what the first makes of zeros."""
    return not layers.pads(second.node) or not np.any(layers.numbers(first).bias)


def _replace(first: Layer, second: Layer, kept: Layer, merged: _Merged, names: Names) -> Answer:
    node, output = second.node, second.node.outputs[0]
    inputs = _constants(node, merged, first.dtype, names)
    if inputs is None:
        return f"{where(first.node)} and {where(node)}: merged, they overflow their type"
    new = edits.add_node(
        node, "Conv", [first.node.inputs[0], *inputs], names, f"{node.name}__merged", like=output
    )
    made = new.producer()
    if made is None:
        raise ValueError(f"{new!r} has no producer")
    for attribute in kept.node.attributes.values():
        made.attributes.add(attribute)
    steps = [_strides(layer, len(merged.weight.shape) - 2) for layer in (first, second)]
    made.attributes.add(ir.AttrInt64s("strides", [a * b for a, b in zip(*steps, strict=True)]))
    rewire.take_place(output, new)
    edits.drop([node, first.node])
    return True


def _strides(layer: Layer, count: int) -> tuple[int, ...]:
    return tuple(layer.node.attributes.get_ints("strides", (1,) * count))
