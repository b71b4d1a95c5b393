"""Bias and scale of layers, as batch normalizations and as the arithmetic they consist of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import shapes
from edgeq.graph.walk import is_op
from undoing.pen import attribute, floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.types import Array
    from undoing.pen import Line, Pen

_EPSILON = 1e-3


@dataclass(frozen=True)
class _Norm:
    """A normalization: ``scale * (x - mean) / sqrt(variance + epsilon) + shift``."""

    scale: Array
    shift: Array
    mean: Array
    variance: Array

    def spread(self) -> Array:
        return np.sqrt(self.variance + np.float32(_EPSILON))

    def gain(self) -> Array:
        """What a layer's weights have to be divided by."""
        return self.scale / self.spread()

    def shaped(self, shape: tuple[int, ...]) -> _Norm:
        parts = (self.scale, self.shift, self.mean, self.variance)
        return _Norm(*(part.reshape(shape) for part in parts))


def batch_norm(pen: Pen) -> int:
    """Take bias and scale out of layers; normalize the picture that goes into the model."""
    forms = itertools.cycle((_as_node, _as_affine, _as_arithmetic))
    done = 0
    for node in list(pen.nodes("Conv", "ConvTranspose")):
        done += _behind_conv(pen, node, next(forms))
    for index, node in enumerate(list(pen.nodes("Gemm", "MatMul"))):
        if index % 2 == 0:
            product = _behind_gemm if node.op_type == "Gemm" else _behind_product
            done += product(pen, node)
    return done + sum([_normalized_input(pen, value) for value in pen.model.graph.inputs])


def _behind_conv(
    pen: Pen, node: ir.Node, form: Callable[[Line, ir.Value, _Norm], ir.Value]
) -> bool:
    weight, bias = floats(node.inputs[1]), _bias(node)
    if weight is None or bias is None:
        return False
    axis = 0 if node.op_type == "Conv" else 1
    if axis == 1 and attribute(node, "group", 1) != 1:
        return False
    norm = _made_up(pen, weight.shape[axis], bias)
    across = [1] * weight.ndim
    across[axis] = -1
    pen.set_constant(node, 1, weight / norm.gain().reshape(across))
    node.resize_inputs(2)
    if form is not _as_node:
        norm = norm.shaped((-1, *[1] * (weight.ndim - 2)))
    pen.follow(node.outputs[0], lambda line, value: form(line, value, norm))
    return True


def _bias(node: ir.Node) -> Array | None:
    """The bias of a convolution, zeros if it has none; None when it is not constant."""
    weight = floats(node.inputs[1])
    if weight is None:
        return None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return floats(node.inputs[2])
    per_group = weight.shape[0] if node.op_type == "Conv" else weight.shape[1]
    return np.zeros(per_group, np.float32)


def _made_up(pen: Pen, channels: int, bias: Array) -> _Norm:
    """A normalization of random strength that adds ``bias`` in the end."""
    variance = pen.rng.uniform(0.3, 2, channels).astype(np.float32)
    scale = pen.rng.uniform(0.5, 2, channels).astype(np.float32)
    # As strong as the bias itself: a larger mean would cost digits.
    strength = float(np.abs(bias).mean()) or 0.01
    mean = (pen.rng.standard_normal(channels) * strength).astype(np.float32)
    norm = _Norm(scale, bias, mean, variance)
    return _Norm(scale, (bias + mean * norm.gain()).astype(np.float32), mean, variance)


def _as_node(line: Line, value: ir.Value, norm: _Norm) -> ir.Value:
    parts = (norm.scale, norm.shift, norm.mean, norm.variance)
    return line("BatchNormalization", value, *parts, epsilon=_EPSILON)


def _as_affine(line: Line, value: ir.Value, norm: _Norm) -> ir.Value:
    return line("Add", line("Mul", line("Sub", value, norm.mean), norm.gain()), norm.shift)


def _as_arithmetic(line: Line, value: ir.Value, norm: _Norm) -> ir.Value:
    centred = line("Sub", value, norm.mean)
    spread = line("Sqrt", line("Add", norm.variance, np.array(_EPSILON, np.float32)))
    scaled = line("Mul", line("Div", centred, spread), norm.scale)
    return line("Add", scaled, norm.shift)


def _behind_gemm(pen: Pen, node: ir.Node) -> bool:
    """The scale and the bias of a fully connected layer: Gemm, Mul, Add."""
    weight = floats(node.inputs[1])
    bias = floats(node.inputs[2]) if len(node.inputs) > 2 else None
    plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
    if weight is None or bias is None or not plain:
        return False
    transposed = bool(attribute(node, "transB", 0))
    norm = _made_up(pen, weight.shape[0 if transposed else 1], bias)
    gain = norm.gain()
    pen.set_constant(node, 1, weight / (gain[:, None] if transposed else gain))
    node.resize_inputs(2)
    pen.follow(node.outputs[0], lambda line, value: _as_affine(line, value, norm))
    return True


def _behind_product(pen: Pen, node: ir.Node) -> bool:
    """The scale of a product's columns; the bias stays, where there is one, in the Add behind."""
    weight = floats(node.inputs[1])
    if weight is None or weight.ndim != 2:
        return False
    gain = pen.rng.uniform(0.5, 2, weight.shape[1]).astype(np.float32)
    mean = (0.01 * pen.rng.standard_normal(weight.shape[1])).astype(np.float32)
    bias = _bias_behind(node)
    pen.set_constant(node, 1, weight / gain)
    if bias is None:
        # A shift that nothing takes up would be a node more than the clean model has.
        pen.follow(node.outputs[0], lambda line, value: line("Mul", value, gain))
        return True
    add, index = bias
    old = floats(add.inputs[index])
    if old is not None:
        pen.set_constant(add, index, (old + mean * gain).astype(np.float32))
    pen.follow(
        node.outputs[0],
        lambda line, value: line("Mul", line("Sub", value, mean), gain),
    )
    return True


def _bias_behind(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The Add of a vector that alone reads a product, and the vector's place in it."""
    uses = node.outputs[0].uses()
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    use = next(iter(uses))
    if not is_op(use.node, "Add"):
        return None
    other = floats(use.node.inputs[1 - use.idx])
    return (use.node, 1 - use.idx) if other is not None and other.ndim == 1 else None


def _normalized_input(pen: Pen, value: ir.Value) -> bool:
    """Subtract a mean from the picture and divide it by a deviation; the first layer undoes it."""
    uses = list(value.uses())
    if len(uses) != 1 or uses[0].idx != 0 or shapes.rank(value) != 4:
        return False
    conv = uses[0].node
    if not is_op(conv, "Conv") or attribute(conv, "group", 1) != 1:
        return False
    weight, bias = floats(conv.inputs[1]), _bias(conv)
    if weight is None or bias is None or attribute(conv, "auto_pad", "NOTSET") != "NOTSET":
        return False
    mean = pen.rng.uniform(0.4, 0.5, (weight.shape[1], 1, 1)).astype(np.float32)
    deviation = pen.rng.uniform(0.2, 0.3, (weight.shape[1], 1, 1)).astype(np.float32)
    line = pen.before(conv)
    normal = line("Div", line("Sub", _padded(line, conv, value), mean), deviation)
    conv.replace_input_with(0, normal)
    pen.set_constant(conv, 1, weight * deviation)
    pen.set_constant(conv, 2, (bias + (weight * mean).sum(axis=(1, 2, 3))).astype(np.float32))
    return True


def _padded(line: Line, conv: ir.Node, value: ir.Value) -> ir.Value:
    """The picture with the padding of its layer: zeros of the picture, none of the normal one."""
    pads = attribute(conv, "pads", (0, 0, 0, 0))
    if not any(pads):
        return value
    conv.attributes["pads"] = ir.AttrInt64s("pads", [0, 0, 0, 0])
    top, left, bottom, right = pads
    everywhere = [0, 0, top, left, 0, 0, bottom, right]
    if line.pen.opset < 11:
        return line("Pad", value, pads=everywhere)
    return line("Pad", value, np.array(everywhere, np.int64))
