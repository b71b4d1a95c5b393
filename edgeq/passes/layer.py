"""Layers with constant weights - Conv, ConvTranspose, Gemm, MatMul - under one view of the weight.

Whatever the op, its weight is seen as [groups, a, b, taps], where a and b are the input and output
channels of one group in the order that the op stores them. Scaling channels is then one
multiplication, whichever the op.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.pattern import FLOATS, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Affine, Float64

LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with constant weights.

    Attributes:
        node: The node.
        view: The weight's shape as [groups, a, b, taps].
        out_dim: Which of a (1) and b (2) counts output channels.
        rank: Rank of the output; None where unknown.
        axis: Channel axis of input and output, negative.
    """

    node: ir.Node
    view: tuple[int, int, int, int]
    out_dim: int
    rank: int | None
    axis: int

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.view[0] * self.view[self.out_dim]

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.view[0] * self.view[3 - self.out_dim]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Element type of weight and output."""
        tensor = constants.tensor(self.node.inputs[1])
        return np.dtype(np.float32 if tensor is None else tensor.dtype.numpy())

    @property
    def has_bias(self) -> bool:
        """Whether the op can add a bias."""
        return self.node.op_type != "MatMul"

    @property
    def shift_is_constant(self) -> bool:
        """Whether a constant added to the input adds a constant to each output channel.

        Zero padding breaks that at the border; a transposed convolution breaks it everywhere.
        """
        if self.node.op_type == "ConvTranspose":
            return False
        return self.node.op_type != "Conv" or not pads(self.node)


def pads(node: ir.Node) -> bool:
    """Whether a convolution pads its input."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return False
    return mode != "NOTSET" or any(node.attributes.get_ints("pads", ()))


def read(node: ir.Node) -> Layer | str | None:
    """The node as a layer; a sentence when it is one that cannot be changed; None for others."""
    if not is_op(node, *LAYER_OPS) or len(node.inputs) < 2:
        return None
    tensor = constants.tensor(node.inputs[1])
    if tensor is None or tensor.dtype not in FLOATS:
        return None
    shape = tensor.shape.numpy()
    if is_op(node, "MatMul"):
        if len(shape) != 2:
            return f"{where(node)}: its weight is no matrix"
        return Layer(node, (1, shape[0], shape[1], 1), 2, rank_of(node.outputs[0]), -1)
    if _bias(node, 0) is None:
        return f"{where(node)}: its bias is not one constant per channel"
    if is_op(node, "Gemm"):
        transposed = node.attributes.get_int("transB", 0)
        return Layer(node, (1, shape[0], shape[1], 1), 1 if transposed else 2, 2, -1)
    groups, rank = node.attributes.get_int("group", 1), len(shape)
    view = (groups, shape[0] // groups, shape[1], math.prod(shape[2:]))
    return Layer(node, view, 1 if node.op_type == "Conv" else 2, rank, 1 - rank)


def _bias(node: ir.Node, channels: int) -> Float64 | None:
    """What the layer adds to each output channel; None when that is no constant.

    Args:
        node: The layer's node.
        channels: The length wanted; 0 only asks whether there is an answer.
    """
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(channels)
    tensor = constants.tensor(value)
    if tensor is None or (tensor.size > 1 and tensor.size != tensor.shape[-1]):
        return None
    if channels == 0:
        return np.zeros(0)
    beta = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    return np.broadcast_to(beta * tensor.numpy().astype(np.float64).reshape(-1), (channels,)).copy()


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A layer's weight in its [groups, a, b, taps] view and its bias per output channel."""

    weight: Float64
    bias: Float64

    def after(self, layer: Layer, affine: Affine) -> Numbers:
        """The numbers that also apply a per-channel map to the output."""
        shape = _spread(layer, layer.out_dim)
        return Numbers(
            self.weight * affine.scale.reshape(shape), self.bias * affine.scale + affine.shift
        )

    def before(self, layer: Layer, affine: Affine) -> Numbers:
        """The numbers that also apply a per-channel map to the input."""
        shape = _spread(layer, 3 - layer.out_dim)
        moved = (self.weight * affine.shift.reshape(shape)).sum(axis=(3 - layer.out_dim, 3))
        alpha = layer.node.attributes.get_float("alpha", 1.0) if is_op(layer.node, "Gemm") else 1.0
        return Numbers(
            self.weight * affine.scale.reshape(shape), self.bias + alpha * moved.reshape(-1)
        )


def _spread(layer: Layer, dim: int) -> tuple[int, ...]:
    """The shape that lays a channel vector along ``dim`` of the weight's view."""
    return tuple(n if i in (0, dim) else 1 for i, n in enumerate(layer.view))


def numbers(layer: Layer) -> Numbers:
    """Read the layer's weight and bias."""
    weight = constants.array(layer.node.inputs[1])
    bias = _bias(layer.node, layer.out_channels)
    if weight is None or bias is None:
        raise ValueError(f"{layer.node!r} has no constant weight")
    return Numbers(weight.astype(np.float64).reshape(layer.view), bias)


def write(layer: Layer, new: Numbers, names: Names) -> bool:
    """Store numbers in the layer, unless they overflow its type. A MatMul's bias is not stored."""
    node = layer.node
    tensor = constants.tensor(node.inputs[1])
    if tensor is None:
        return False
    with np.errstate(over="ignore"):
        weight = new.weight.reshape(tensor.shape.numpy()).astype(tensor.dtype.numpy())
        bias = new.bias.astype(weight.dtype)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return False
    edits.set_constant(node, 1, weight, names, f"{node.name}__weight")
    if layer.has_bias and (np.any(bias) or (len(node.inputs) > 2 and node.inputs[2] is not None)):
        edits.set_constant(node, 2, bias, names, f"{node.name}__bias")
        node.attributes.pop("beta", None)
    return True
