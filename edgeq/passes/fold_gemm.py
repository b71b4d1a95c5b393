"""Folds alpha and beta of a Gemm into its weight and bias, and gives the bias one entry a channel.

Integer kernels know neither factor, and quantize a bias per output channel. Gemm computes
alpha * A' * B' + beta * C, with C broadcast to the result (ONNX operator Gemm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.passes import edits
from edgeq.passes.layer import numbers, read
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer
    from edgeq.types import Array


def fold_gemm(model: ir.Model) -> Outcome:
    """Leave only alpha = beta = 1 and biases of shape [channels], where weights are constant."""
    names = rewire.Names(model)
    gemms = [node for node in walk.nodes(model) if walk.is_op(node, "Gemm")]
    return Outcome.of(_fold(node, names) for node in gemms)


def _fold(node: ir.Node, names: Names) -> Answer:
    layer = read(node)
    if not _has_work(node):
        return False
    if layer is None or isinstance(layer, str):
        return layer or False
    weight, bias = _folded(layer)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return f"{where(node)}: its numbers, with alpha and beta, do not fit {layer.dtype}"
    if node.attributes.get_float("alpha", 1.0) != 1.0:
        edits.set_constant(node, 1, weight, names, f"{node.name}__weight")
    if _bias(node) is not None:
        edits.set_constant(node, 2, bias, names, f"{node.name}__bias")
    node.attributes.pop("alpha", None)
    node.attributes.pop("beta", None)
    return True


def _has_work(node: ir.Node) -> bool:
    bias, weight = _bias(node), constants.tensor(node.inputs[1])
    if node.attributes.get_float("alpha", 1.0) != 1.0:
        return True
    if bias is None or weight is None:
        return False
    channels = weight.shape.numpy()[0 if node.attributes.get_int("transB", 0) else 1]
    tensor = constants.tensor(bias)
    shaped = tensor is not None and tensor.shape.numpy() == (channels,)
    return node.attributes.get_float("beta", 1.0) != 1.0 or not shaped


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _folded(layer: Layer) -> tuple[Array, Array]:
    """Weight, as stored, and bias, one per channel, in the layer's type."""
    found = numbers(layer)
    alpha = layer.node.attributes.get_float("alpha", 1.0)
    rows, columns = layer.view[1:3]
    with np.errstate(over="ignore"):
        weight = (found.weight * alpha).reshape(rows, columns).astype(layer.dtype)
        return weight, found.bias.astype(layer.dtype)
