"""Activations and normalizations as the primitives that exporters without these operators write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, shapes
from undoing.pen import attribute, floats, is_float

if TYPE_CHECKING:
    import onnx_ir as ir

    from undoing.pen import Line, Pen


def activations(pen: Pen) -> int:
    """Spell activations, GELU and layer normalizations as primitives."""
    done = 0
    for index, node in enumerate(list(pen.nodes(*_SPELLINGS))):
        if node.inputs[0] is not None and is_float(node.inputs[0]) and len(node.outputs) == 1:
            new = _SPELLINGS[node.op_type](pen.before(node), node, index)
            if new is not None:
                pen.replace(node, new)
                done += 1
    return done


def _number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _clipped(line: Line, value: ir.Value, low: float, high: float) -> ir.Value:
    if line.pen.opset < 11:
        return line("Clip", value, min=low, max=high)
    return line("Clip", value, _number(low), _number(high))


def _hard_swish(line: Line, node: ir.Node, index: int) -> ir.Value:
    x = node.inputs[0]
    if index % 3 == 0:
        return line("Mul", x, line("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    gate = _clipped(line, line("Add", x, _number(3)), 0, 6)
    if index % 3 == 1:
        return line("Div", line("Mul", x, gate), _number(6))
    return line("Mul", x, line("Mul", gate, _number(1 / 6)))


def _hard_sigmoid(line: Line, node: ir.Node, index: int) -> ir.Value:
    x = node.inputs[0]
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    if index % 2:
        sixth = line("Add", x, _number(beta / alpha))
        return line("Mul", _clipped(line, sixth, 0, 1 / alpha), _number(alpha))
    return _clipped(line, line("Add", line("Mul", x, _number(alpha)), _number(beta)), 0, 1)


def _clip(line: Line, node: ir.Node, index: int) -> ir.Value | None:
    """Clip between 0 and something: Relu or Max, then Min."""
    low, high = _bounds(node)
    if low != 0 or high is None or line.pen.opset < 8:
        return None
    x = node.inputs[0]
    positive = line("Relu", x) if index % 2 else line("Max", x, _number(0))
    return line("Min", positive, _number(high))


def _bounds(node: ir.Node) -> tuple[float | None, float | None]:
    if "min" in node.attributes or "max" in node.attributes:
        return attribute(node, "min", None), attribute(node, "max", None)
    low, high = (node.inputs[i] if i < len(node.inputs) else None for i in (1, 2))
    return constants.scalar(low), constants.scalar(high)


def _gelu(line: Line, node: ir.Node, index: int) -> ir.Value:
    x = node.inputs[0]
    if attribute(node, "approximate", "none") == "tanh":
        cube = line("Mul", line("Pow", x, _number(3)), _number(0.044715))
        inner = line("Mul", line("Add", x, cube), _number(np.sqrt(2 / np.pi)))
        gate = line("Add", line("Tanh", inner), _number(1))
    else:
        gate = line("Add", line("Erf", line("Div", x, _number(np.sqrt(2)))), _number(1))
    if index % 2:
        return line("Mul", line("Mul", x, gate), _number(0.5))
    return line("Mul", line("Mul", x, _number(0.5)), gate)


def _layer_norm(line: Line, node: ir.Node, index: int) -> ir.Value | None:
    x, scale = node.inputs[0], floats(node.inputs[1])
    axis, rank = attribute(node, "axis", -1), shapes.rank(node.inputs[0])
    if scale is None or rank is None or axis not in (-1, rank - 1):
        return None
    centred = line("Sub", x, line.reduce("ReduceMean", x, [-1]))
    square = line("Mul", centred, centred) if index % 2 else line("Pow", centred, _number(2))
    variance = line.reduce("ReduceMean", square, [-1])
    epsilon = _number(attribute(node, "epsilon", 1e-5))
    normal = line("Div", centred, line("Sqrt", line("Add", variance, epsilon)))
    scaled = line("Mul", normal, node.inputs[1])
    given = len(node.inputs) > 2 and node.inputs[2] is not None
    return line("Add", scaled, node.inputs[2]) if given else scaled


def _sigmoid(line: Line, node: ir.Node, index: int) -> ir.Value | None:
    """Only some: x * sigmoid(x) and sigmoid alone, as one over one plus exp(-x)."""
    if index % 2:
        return None
    powers = line("Exp", line("Neg", node.inputs[0]))
    return line("Div", _number(1), line("Add", _number(1), powers))


def _swish(line: Line, node: ir.Node, index: int) -> ir.Value:
    x = node.inputs[0]
    alpha = attribute(node, "alpha", 1.0)
    inner = x if alpha == 1 else line("Mul", x, _number(alpha))
    return line("Mul", x, line("Sigmoid", inner))


def _leaky_relu(line: Line, node: ir.Node, index: int) -> ir.Value | None:
    alpha = attribute(node, "alpha", 0.01)
    x = node.inputs[0]
    return line("Max", x, line("Mul", x, _number(alpha))) if 0 <= alpha <= 1 else None


_SPELLINGS = {
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "Gelu": _gelu,
    "LayerNormalization": _layer_norm,
    "Sigmoid": _sigmoid,
    "Swish": _swish,
    "LeakyRelu": _leaky_relu,
}
