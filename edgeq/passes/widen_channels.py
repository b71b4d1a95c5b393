"""Channels of zeros where integer kernels are much faster with whole vectors of channels.

onnxruntime's depthwise kernel (onnxruntime/core/mlas/lib/intrinsics/avx2/qdwconv_avx2.cpp) takes 16
channels at a time, then 8 and then one: 24 channels of 3 x 3 over 28 x 28 take 29 microseconds and
32 take 21, 116 and 128 take 92 and 47; 5 x 5 over 2 x 96 take 69 with 200 channels, 39 with 208
(1.31, AVX512-VNNI, one thread). Other convolutions copy what they read word by word where its
channels are no multiple of 4 (17 and 20 channels: 33 and 17), and have a slow kernel for fewer than
16 outputs (1 x 1 with 12 and 16 over 56 x 56: 28 and 16).

A layer that writes the channels writes some more of zeros, layers that read them multiply those by
zeros, and what stands between works channel by channel: no number changes that was there before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import given, where
from edgeq.passes.symbolic_shapes import axes_of

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer

_VECTOR: Final = 16
_HALF: Final = 8
"""Fewest channels that are made a whole vector where no layer is depthwise."""
_WORD: Final = 4
"""What more channels are made a multiple of; also the fewest for which any are added."""

_PRODUCTS: Final = 200
"""Products with zeros that take as long as a depthwise tap over what is left of a vector: 1.7
nanoseconds, at 100 to 150 products a nanosecond."""

_UNARY: Final = frozenset(
    {"Abs", "Clip", "Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg", "Relu",
     "Sigmoid", "Softplus", "Tanh"}
)  # fmt: skip
_BINARY: Final = frozenset({"Add", "Max", "Min", "Mul", "PRelu", "Sub"})
"""Operators that make finite numbers of finite ones, each by itself."""

_POOLS: Final = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean"}
)

_AXIS: Final = 1
"""Of the channels in every value, and of those that a layer reads in its weight."""


def widen_channels(model: ir.Model) -> Outcome:
    """Add channels of zeros where integer convolutions gain by them."""
    names, done = rewire.Names(model), set[ir.Value]()
    answers: list[Answer] = []
    for node in walk.nodes(model):
        value = node.outputs[0] if is_op(node, "Conv") else None
        size = 0 if value is None or value in done else _channels(value)
        if value is not None and size % _VECTOR and size >= _WORD:
            group = _Group(size, node.graph)
            answers.append(group.follow(value) or _widen(group, names))
            done |= group.values
    return Outcome.of(answers)


def _widen(group: _Group, names: Names) -> bool:
    count = group.missing()
    if not count:
        return False
    for layer in group.writers:
        _pad(layer.node, 1, 0, count, names)
        if given(layer.node, 2):
            _pad(layer.node, 2, 0, count, names)
        if _is_depthwise(layer):
            layer.node.attributes["group"] = ir.AttrInt64("group", group.size + count)
    for layer in group.readers:
        _pad(layer.node, 1, _AXIS, count, names)
    for node, index, axis in group.constants:
        _pad(node, index, axis, count, names)
    for value in group.values:
        sizes = list(value.shape or ())
        value.shape = ir.Shape([*sizes[:_AXIS], group.size + count, *sizes[_AXIS + 1 :]])
    return True


def _pad(node: ir.Node, index: int, axis: int, count: int, names: Names) -> None:
    """Put zeros behind the constant that a node reads as input ``index``, along an axis."""
    data = constants.array(node.inputs[index])
    if data is None:
        raise ValueError(f"{where(node)}: input {index} is no constant")
    widths = [(0, count if dim == axis else 0) for dim in range(data.ndim)]
    edits.set_constant(node, index, np.pad(data, widths), names, f"{node.name}__wider")


def _is_depthwise(layer: Layer) -> bool:
    groups, outputs, inputs, _ = layer.view
    return groups > 1 and outputs == inputs == 1


def _channels(value: ir.Value | None) -> int:
    """Size of the axis of the channels; 0 where that is not known."""
    shape = None if value is None else value.shape
    size = shape[_AXIS] if shape is not None and len(shape) > _AXIS + 1 else 0
    return size if isinstance(size, int) else 0


@dataclass(slots=True)
class _Group:
    """Values that can only have more channels all together, and what writes and reads them.

    Attributes:
        size: Their channels.
        graph: Where they are.
        values: The values.
        writers: Convolutions that write one.
        readers: Convolutions in one group that read one.
        constants: Node, input and axis of what else there is a number of for each channel.
    """

    size: int
    graph: ir.Graph | ir.Function | None
    values: set[ir.Value] = field(default_factory=set)
    writers: list[Layer] = field(default_factory=list)
    readers: list[Layer] = field(default_factory=list)
    constants: list[tuple[ir.Node, int, int]] = field(default_factory=list)

    def follow(self, first: ir.Value) -> str:
        """Find all that has to be wider together with a value; why that cannot be, or nothing."""
        todo, through = [first], set[ir.Node]()
        while todo:
            value = todo.pop()
            if value in self.values:
                continue
            self.values.add(value)
            producer = value.producer()
            if producer is None or value.is_graph_output() or _channels(value) != self.size:
                return f"{value.name}: its channels are not those of a layer alone"
            for node, index in ((producer, -1), *((use.node, use.idx) for use in value.uses())):
                found = self._layer(node, index) if is_op(node, "Conv") else None
                if found is None and node not in through:
                    through.add(node)
                    found = self._between(node)
                if isinstance(found, str) or node.graph is not self.graph:
                    return f"{where(node)}: it takes its channels as they are"
                todo += found or ()
        return ""

    def missing(self) -> int:
        """Channels to add; 0 where they do not pay."""
        taps = sum(layer.view[3] for layer in self.writers if _is_depthwise(layer))
        added = -self.size % _VECTOR
        if not taps and self.size < _VECTOR:
            return added if self.size >= _HALF else 0
        if not taps:
            return -self.size % _WORD
        products = sum(added * layer.view[1] * layer.view[3] for layer in self.readers)
        return added if products <= _PRODUCTS * taps else 0

    def _layer(self, node: ir.Node, index: int) -> list[ir.Value] | str:
        """What a convolution, which writes a value or reads it, makes wider."""
        layer = layers.read(node)
        if not isinstance(layer, layers.Layer) or index > 0:
            return "no layer"
        if _is_depthwise(layer):
            self.writers += [layer] * (index < 0)
            return [v for v in (node.inputs[0], node.outputs[0]) if v is not None]
        (self.writers if index < 0 else self.readers).append(layer)
        return [] if layer.view[0] == 1 else "in groups"

    def _between(self, node: ir.Node) -> list[ir.Value] | str:
        """What another node makes wider."""
        rank = 0 if node.outputs[0].shape is None else len(node.outputs[0].shape)
        apart = is_op(node, *_UNARY) or (is_op(node, *_POOLS) and _keeps_channels(node, rank))
        if apart and not any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            return [v for v in (node.inputs[0], node.outputs[0]) if v is not None]
        if not is_op(node, *_BINARY):
            return "unknown"
        wider = [node.outputs[0]]
        for index, value in enumerate(node.inputs):
            if value is None or value.shape is None:
                return "unknown"
            axis = len(value.shape) - rank + _AXIS
            if axis < 0 or value.shape[axis] == 1:
                continue
            if constants.is_constant(value):
                self.constants.append((node, index, axis))
            elif axis == _AXIS:
                wider.append(value)
            else:
                return "unknown"
        return wider


def _keeps_channels(node: ir.Node, rank: int) -> bool:
    """Whether a pool mixes nothing but what a channel holds."""
    if not is_op(node, "ReduceMean"):
        return True
    axes = axes_of(node, rank) or (_AXIS,)
    return _AXIS not in axes and node.attributes.get_int("keepdims", 1) == 1
