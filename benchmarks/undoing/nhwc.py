"""Channels last, as converters from other frameworks write it: Transposes around every layer.

Each layer gets a Transpose in front and one behind; what is computed element by element between
layers is spelled on the channels-last value, with constants and axes permuted; where a value
leaves for something else, one Transpose takes it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, shapes, walk
from edgeq.passes import pattern
from undoing.pen import attribute, graph_of

if TYPE_CHECKING:
    from edgeq.types import Array
    from undoing.pen import Pen

_LAYERS = frozenset({
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace",
    "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "LRN", "MaxPool",
    "SpaceToDepth",
})  # fmt: skip
"""They compute on channels first, whatever their converter thinks."""

_ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor",
    "Gelu", "Greater", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "Log", "Max",
    "Min", "Mish", "Mul", "Neg", "Not", "Pow", "PRelu", "Reciprocal", "Relu", "Selu", "Sigmoid",
    "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "Where",
})  # fmt: skip

_ALONG_AXIS = frozenset({"Concat", "LogSoftmax", "Softmax", "Split"})
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceL2"})


def nhwc(pen: Pen) -> int:
    """Turn everything around layers to channels last."""
    return sum([_Turn(pen, graph).turn() for graph in list(pen.model.graphs())])


class _Turn:
    """One graph on its way to channels last."""

    def __init__(self, pen: Pen, graph: ir.Graph) -> None:
        self._pen = pen
        self._graph = graph
        self._last: dict[ir.Value, ir.Value] = {}
        self._back: dict[ir.Value, ir.Value] = {}
        self._replaced: list[ir.Node] = []
        self._pools = 0

    def turn(self) -> int:
        nodes = list(self._graph)
        for node in nodes:
            if not self._layer(node) and not self._spelled(node):
                self._leave(node)
        for output in list(self._graph.outputs):
            if output in self._last:
                rewire.hand_over_output(output, self._first(output, nodes[-1], behind=True))
        for node in reversed(self._replaced):
            rewire.remove(node)
        return len(self._last)

    def _layer(self, node: ir.Node) -> bool:
        value, result = node.inputs[0] if node.inputs else None, node.outputs[0]
        rank = shapes.rank(value)
        if value is None or not is_layer(node) or rank is None or rank < 3:
            return False
        if self._pooled_by_mean(node, value, rank):
            return True
        back = self._pen.before(node)("Transpose", self._turned(value, node), perm=_to_first(rank))
        back.type, back.shape = value.type, value.shape
        node.replace_input_with(0, back)
        self._last[result] = self._pen.behind(node)("Transpose", result, perm=_to_last(rank))
        return True

    def _pooled_by_mean(self, node: ir.Node, value: ir.Value, rank: int) -> bool:
        """Every other global pooling is a mean over the axes in the middle."""
        if node.op_type != "GlobalAveragePool":
            return False
        self._pools += 1
        if self._pools % 2:
            return False
        line, axes = self._pen.before(node), list(range(1, rank - 1))
        mean = line.reduce("ReduceMean", self._turned(value, node), axes)
        self._note(node, [mean])
        return True

    def _spelled(self, node: ir.Node) -> bool:
        """Write a node that can as well compute on channels last; whether it is one."""
        rank = shapes.rank(node.outputs[0])
        data = [v for v in node.inputs if v is not None and v in self._last]
        if node.domain or not data or rank is None or rank < 3 or shapes.rank(data[0]) != rank:
            return False
        inputs = self._inputs(node, rank)
        if inputs is None:
            return False
        attributes = [
            _permuted(found, node, rank) if found.name in ("axis", "axes", "pads") else found
            for found in node.attributes.values()
        ]
        copy = ir.Node(
            "",
            node.op_type,
            inputs,
            attributes,
            num_outputs=len(node.outputs),
            version=node.version,
        )
        graph_of(node).insert_before(node, self._pen.name(copy, f"{node.name}_last"))
        self._note(node, list(copy.outputs))
        return True

    def _inputs(self, node: ir.Node, rank: int) -> list[ir.Value | None] | None:
        """A node's inputs on channels last; None for a node that cannot be spelled so."""
        if node.op_type in _ELEMENTWISE:
            count = 1 if node.op_type in ("Clip", "Dropout") else len(node.inputs)
            turned = [self._operand(v, rank, node) for v in node.inputs[:count]]
            ready = all(v is not None for v in turned)
            return [*turned, *node.inputs[count:]] if ready else None
        if node.op_type in _ALONG_AXIS:
            if node.op_type in ("LogSoftmax", "Softmax") and self._pen.opset < 13:
                return None
            count = len(node.inputs) if node.op_type == "Concat" else 1
            turned = [self._operand(v, rank, node) for v in node.inputs[:count]]
            ready = all(v is not None for v in turned)
            return [*turned, *node.inputs[count:]] if ready else None
        if node.op_type in _REDUCTIONS:
            return self._reduction(node, rank)
        known = {"Pad": self._pad, "Resize": self._resize, "Slice": self._slice}
        return known[node.op_type](node, rank) if node.op_type in known else None

    def _reduction(self, node: ir.Node, rank: int) -> list[ir.Value | None] | None:
        axes = pattern.ints(node, 1, "axes")
        if axes is None or not attribute(node, "keepdims", 1):
            return None
        moved = np.array([_to_last(rank).index(a % rank) for a in axes], np.int64)
        rest = [self._constant(moved)] if len(node.inputs) > 1 else []
        return [self._last[_given(node)], *rest]

    def _pad(self, node: ir.Node, rank: int) -> list[ir.Value | None] | None:
        if "pads" in node.attributes:
            return [self._last[_given(node)]]
        pads = constants.array(node.inputs[1])
        if pads is None or len(pads) != 2 * rank:
            return None
        order = [*_to_last(rank), *(rank + axis for axis in _to_last(rank))]
        return [self._last[_given(node)], self._constant(pads[order]), *node.inputs[2:]]

    def _resize(self, node: ir.Node, rank: int) -> list[ir.Value | None] | None:
        if "axes" in node.attributes or "cubic" in str(node.attributes.get("mode")):
            return None
        inputs: list[ir.Value | None] = [self._last[_given(node)]]
        for value in node.inputs[1:]:
            numbers = constants.array(value)
            if value is None or (numbers is not None and numbers.size == 0):
                inputs.append(value)
            elif numbers is None or numbers.shape != (rank,):
                return None
            else:
                inputs.append(self._constant(numbers[_to_last(rank)]))
        return inputs

    def _slice(self, node: ir.Node, rank: int) -> list[ir.Value | None] | None:
        axes = constants.array(node.inputs[3]) if len(node.inputs) > 3 else None
        if axes is None:
            return None
        moved = np.array([_to_last(rank).index(a % rank) for a in axes.tolist()], np.int64)
        inputs = [self._last[_given(node)], *node.inputs[1:3], self._constant(moved)]
        return [*inputs, *node.inputs[4:]]

    def _operand(self, value: ir.Value | None, rank: int, node: ir.Node) -> ir.Value | None:
        numbers = constants.array(value)
        if value is None:
            return None
        if numbers is not None:
            return self._constant(_numbers_last(numbers, rank))
        return self._turned(value, node) if shapes.rank(value) == rank else None

    def _turned(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """A value on channels last, with a Transpose where it comes from elsewhere."""
        if value not in self._last:
            perm = _to_last(shapes.rank(value) or 0)
            self._last[value] = self._pen.before(node)("Transpose", value, perm=perm)
        return self._last[value]

    def _first(self, value: ir.Value, node: ir.Node, *, behind: bool = False) -> ir.Value:
        """A value on channels first, from its twin."""
        if value.producer() is None or value in self._graph.inputs:
            return value
        if value not in self._back:
            line = self._pen.behind(node) if behind else self._pen.before(node)
            perm = _to_first(shapes.rank(value) or 0)
            self._back[value] = line("Transpose", self._last[value], perm=perm)
            self._back[value].type, self._back[value].shape = value.type, value.shape
        return self._back[value]

    def _leave(self, node: ir.Node) -> None:
        """Let a node that stays as it is read channels first, its bodies too."""
        inner = [
            n for _, body in walk.subgraphs(node) for n in ir.traversal.RecursiveGraphIterator(body)
        ]
        for reader in (node, *inner):
            for index, value in enumerate(reader.inputs):
                if value is not None and value in self._last:
                    reader.replace_input_with(index, self._first(value, node))

    def _note(self, node: ir.Node, results: list[ir.Value]) -> None:
        """``results`` are the outputs of ``node`` on channels last."""
        self._replaced.append(node)
        for old, new in zip(node.outputs, results, strict=True):
            self._last[old] = new

    def _constant(self, numbers: Array) -> ir.Value:
        return self._pen.constant(self._graph, np.ascontiguousarray(numbers))


def is_layer(node: ir.Node) -> bool:
    """Whether the node computes on channels first, and has one output."""
    return walk.is_op(node, *_LAYERS) and sum(bool(o.uses()) for o in node.outputs[1:]) == 0


def _given(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node!r} has no input")
    return value


def _to_last(rank: int) -> list[int]:
    return [0, *range(2, rank), 1]


def _to_first(rank: int) -> list[int]:
    return [0, rank - 1, *range(1, rank - 1)]


def _numbers_last(numbers: Array, rank: int) -> Array:
    """A constant operand, permuted; as short as it can be, like converters write it."""
    if numbers.size == 1 and numbers.ndim <= 1:
        return numbers
    full = numbers.reshape((1,) * (rank - numbers.ndim) + numbers.shape).transpose(_to_last(rank))
    while full.ndim > 1 and full.shape[0] == 1:
        full = full[0]
    return full


def _permuted(found: ir.Attr, node: ir.Node, rank: int) -> ir.Attr:
    """An attribute that speaks of axes."""
    order = _to_last(rank)
    if found.name == "axis":
        return ir.AttrInt64("axis", order.index(found.as_int() % rank))
    numbers = list(found.as_ints())
    if found.name == "axes":
        return ir.AttrInt64s("axes", [order.index(a % rank) for a in numbers])
    both = [*order, *(rank + axis for axis in order)]
    return ir.AttrInt64s("pads", [numbers[i] for i in both])
