"""Which axis of a value counts channels, by the layers around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.calibration.channels import ChannelLayout
from edgeq.graph.walk import is_op, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

_SECOND: Final = frozenset(
    {
        "Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization",
        "GroupNormalization", "PRelu", "LRN", "MaxPool", "AveragePool", "LpPool",
        "GlobalAveragePool", "GlobalMaxPool",
        "DepthToSpace", "SpaceToDepth", "Resize", "Upsample",
    }
)  # fmt: skip
"""Operators whose axis 1 counts channels (ONNX operators of these names: "N x C x D1 x ...")."""

_LAST: Final = frozenset(
    {
        "MatMul", "Gemm", "LayerNormalization", "RMSNormalization", "SkipLayerNormalization",
        "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "LSTM", "GRU", "RNN",
    }
)  # fmt: skip
"""Operators whose last axis counts features (ONNX; onnxruntime/docs/ContribOperators.md)."""

_SHAPED_LIKE: Final = frozenset(
    {
        "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu", "Elu",
        "Selu", "Mish", "Softplus", "Erf", "Sqrt", "Exp", "Neg", "Abs", "Add", "Sub", "Mul", "Div",
        "Identity", "Cast", "Max", "Min", "Pow", "Swish", "QuickGelu", "FastGelu", "BiasGelu",
    }
)  # fmt: skip
"""Operators that leave the axes where they are; through them the next layer is looked for."""

_FAR: Final = 64
"""Nodes that are looked at for one value."""


def channel_layouts(model: ir.Model, names: Iterable[str]) -> dict[str, ChannelLayout]:
    """The layouts of the named values that have one; see :func:`channel_layout`."""
    known = values(model)
    found = {name: channel_layout(known[name]) for name in names if name in known}
    return {name: layout for name, layout in found.items() if layout is not None}


def channel_layout(value: ir.Value) -> ChannelLayout | None:
    """Where the channels of a value are, by the model alone.

    The nearest layer decides: one that reads the value, else the one that makes it, elementwise
    operators between them not counted. Convolutions, pools and batch normalization have channels
    on axis 1; MatMul with a constant, Gemm, recurrent layers and layer normalization on the last.
    Without such a layer it is axis 1 of values with two, four or five axes.

    Returns:
        None where the model does not say how many channels there are, or nothing tells the axis.
    """
    if value.shape is None:
        return None
    rank = len(value.shape)
    axis = _by_layers(value, rank)
    if axis is None and rank in (2, 4, 5):
        axis = 1
    if axis is None or not 0 <= axis < rank:
        return None
    count = value.shape[axis]
    return ChannelLayout(axis, rank, count) if isinstance(count, int) and count > 0 else None


def _by_layers(value: ir.Value, rank: int) -> int | None:
    waiting, seen = [value], {value}
    for _ in range(_FAR):
        if not waiting:
            return None
        each = waiting.pop(0)
        readers = [use.node for use in each.uses() if use.idx == 0 or _keeps_axes(use.node)]
        for node in (*readers, each.producer()):
            axis = None if node is None else _axis(node, rank)
            if axis is not None:
                return axis
        for node in (*readers, each.producer()):
            if node is not None and _keeps_axes(node):
                for near in (*node.outputs, *node.inputs):
                    if near is not None and near not in seen and _has_rank(near, rank):
                        waiting.append(near)
                        seen.add(near)
    return None


def _keeps_axes(node: ir.Node) -> bool:
    return node.op_type in _SHAPED_LIKE


def _has_rank(value: ir.Value, rank: int) -> bool:
    return value.shape is not None and value.const_value is None and len(value.shape) == rank


def _axis(node: ir.Node, rank: int) -> int | None:
    if node.op_type in _SECOND:
        return 1
    if node.op_type not in _LAST:
        return None
    if is_op(node, "MatMul") and (node.inputs[1] is None or node.inputs[1].const_value is None):
        return None  # a product of two activations: attention
    if is_op(node, "Gemm") and node.attributes.get_int("transA", 0) != 0:
        return None
    return rank - 1
