"""Having the runtime itself reduce large outputs: extrema, sum, an evenly spaced part, the tails.

Handing a large value out costs a copy of it in the runtime's plain layout that lives until the end
of the run, for every value at once. Reduced where it is made, while it is in the processor's cache,
it is freed before the next one, and a few kilobytes come out.

The tails are the stretches of the value that hold its extremes. Maxima of stretches cost no more
than the maximum of all, which is theirs; choosing the greatest of them and handing out those
stretches adds a tenth to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph.rewire import Names, add_initializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_TYPICAL = 128
"""Assumed of a dimension that the model leaves open, but for the first, which counts samples."""

_FAR = 2**62

_AXES_AS_INPUT = 18
"""Operator set from which ReduceMax and ReduceMin read their axes from an input."""

_NOT_NEGATIVE = frozenset(
    {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Sqrt", "Softplus"}
)
"""Operators without a tail below zero (ONNX operators of these names); Clip where its bound says
so."""


@dataclass(frozen=True, slots=True)
class Condensed:
    """What is found where, of one value.

    Attributes:
        minimum: Output: minima of the channels, [..., channels]; without channels those of the
            stretches ``below``, [top], of which the least is that of all elements; without those
            just that, a scalar. Elements that are NaN may be passed over.
        maximum: Output: likewise.
        channels: Whether those are of the channels.
        total: Output: sum of the elements, a scalar; NaN or infinite where an element is.
        part: Output: elements ``start``, ``start + step``... in C order, one dimension.
        size: Output: number of elements, int64 scalar; None where ``elements`` is known.
        elements: Number of elements where the graph tells it.
        above: Output: the stretches with the greatest maxima, [top, length]; None where there are
            none to be read.
        below: Output: those with the least minima; also None where nothing is negative.
        maxima: Output: the maxima of the stretches ``above``, [top].
        minima: Output: the minima of those ``below``.
        start: Input: int64 [1].
        step: Input: int64 [1], positive.
        shape: Input: int64 [2], the stretches and their length, either -1; None where fixed.
        top: Input: int64 [1], the stretches to hand out; None where fixed.
    """

    minimum: str
    maximum: str
    channels: bool
    total: str
    part: str
    size: str | None
    elements: int | None
    above: str | None
    below: str | None
    maxima: str | None
    minima: str | None
    start: str
    step: str
    shape: str | None
    top: str | None


@dataclass(frozen=True, slots=True)
class Reduced:
    """Where the outputs of a model went.

    Attributes:
        condensed: By name of the output, in the order of the outputs.
        whole: By name of the output: the one that carries it now, behind a new axis of length 1.
    """

    condensed: Mapping[str, Condensed]
    whole: Mapping[str, str]


def is_large(value: ir.Value, limit: int) -> bool:
    """Whether a value is float32, made in the main graph, and likely of more than ``limit`` elements.

    Goes by the model alone, so that the answer does not depend on the samples.
    """  # noqa: E501
    if value.dtype != ir.DataType.FLOAT or value.shape is None or value.producer() is None:
        return False
    sizes = [_assumed(number, size) for number, size in enumerate(value.shape)]
    return bool(np.prod(np.array(sizes, np.float64)) > limit)


def _assumed(number: int, size: int | ir.SymbolicDim) -> int:
    if isinstance(size, int):
        return size
    return 1 if number == 0 else _TYPICAL


def condense(
    model: ir.Model,
    outputs: Sequence[ir.Value],
    stretches: Callable[[int], tuple[int, int]],
    channels: Mapping[str, int] | None = None,
) -> Reduced:
    """Let the model return what is to know of some of its outputs instead of the outputs.

    Args:
        model: Changed in place.
        outputs: Outputs of its main graph that nodes of the main graph compute.
        stretches: From a number of elements to the length of the stretches that a value is cut
            into and how many of them to hand out; asked where the graph tells the number.
        channels: The axis that counts channels, by name of the output.

    Returns:
        Where to find what. Other outputs come out whole, under another name.
    """
    graph, names = model.graph, Names(model)
    flat = add_initializer(graph, names.value("flat_shape"), np.array([-1], np.int64))
    axis = add_initializer(graph, names.value("first_axis"), np.array([0], np.int64))
    inner = add_initializer(graph, names.value("inner_axis"), np.array([1], np.int64))
    far = add_initializer(graph, names.value("far_end"), np.array([_FAR], np.int64))
    opset = model.graph.opset_imports.get("") or 0
    axes = inner if opset >= _AXES_AS_INPUT else None
    found: dict[str, Condensed] = {}
    gone = {id(value) for value in outputs}
    order = list(graph.outputs)
    graph.outputs.clear()
    whole: dict[str, str] = {}
    # The runtime walks the graph back from its last leaf: what stands last runs first, and pulls in
    # no more of the model than it needs.
    for value in reversed(order):
        build = _Builder(graph, names, value.name or "value")
        if id(value) not in gone:
            whole[build.base] = build.give("Unsqueeze", [value, axis], "whole", None)
            continue
        elements = _elements(value)
        tails = _tails(build, value, None if elements is None else stretches(elements), axes)
        low, high = _extrema(build, value, (channels or {}).get(build.base), opset)
        start, step = build.feed("start", 1), build.feed("step", 1)
        line = build.apply("Reshape", [value, flat], "line", [None])
        found[build.base] = Condensed(
            minimum=low or tails.minima or build.give("ReduceMin", [value], "minimum", []),
            maximum=high or tails.maxima or build.give("ReduceMax", [value], "maximum", []),
            channels=low is not None,
            total=build.give("ReduceSum", [value], "total", []),
            part=build.give("Slice", [line, start, far, axis, step], "part", [None]),
            size=None if elements is not None else build.give("Size", [value], "size", []),
            elements=elements,
            above=tails.above,
            below=tails.below,
            maxima=tails.maxima,
            minima=tails.minima,
            start=start.name or "",
            step=step.name or "",
            shape=tails.shape,
            top=tails.top,
        )
    return Reduced({name: found[name] for name in reversed(found)}, whole)


def _extrema(
    build: _Builder, value: ir.Value, axis: int | None, opset: int
) -> tuple[str, str] | tuple[None, None]:
    """Outputs with the extrema of the channels, over the axes behind them or else before them.

    Over the axes behind them the runtime reads the value once from front to back; what is left
    before them (the batch) is short.
    """
    if axis is None or value.shape is None:
        return None, None
    rank = len(value.shape)
    over = list(range(axis + 1, rank)) or list(range(axis))
    if not over:
        return None, None
    given = build.constant("over", over) if opset >= _AXES_AS_INPUT else None
    found = []
    for op_type, role in (("ReduceMin", "minimum"), ("ReduceMax", "maximum")):
        inputs = [value] if given is None else [value, given]
        node = ir.node(
            op_type, inputs, {"keepdims": 0} | ({} if given is not None else {"axes": over})
        )
        output = build.append(node, role, [None] * (rank - len(over)))
        build.graph.outputs.append(output)
        found.append(output.name or "")
    return found[0], found[1]


@dataclass(frozen=True, slots=True)
class _Tails:
    """What was added to read the tails, if anything."""

    above: str | None = None
    maxima: str | None = None
    below: str | None = None
    minima: str | None = None
    shape: str | None = None
    top: str | None = None


def _tails(
    build: _Builder, value: ir.Value, known: tuple[int, int] | None, axes: ir.Value | None
) -> _Tails:
    """Add the stretches of one value; ``known`` are their length and number, where fixed."""
    if known is not None and not known[1]:
        return _Tails()
    if known is None:
        shape, top = build.feed("shape", 2), build.feed("top", 1)
    else:
        shape, top = build.constant("shape", [-1, known[0]]), build.constant("top", [known[1]])
    rows = build.apply("Reshape", [value, shape], "rows", [None, None])
    above = build.extremes(rows, build.reduce("ReduceMax", rows, axes, "row_maxima"), top, "above")
    below: tuple[str | None, str | None] = (None, None)
    if not _is_not_negative(value):
        below = build.extremes(
            rows, build.reduce("ReduceMin", rows, axes, "row_minima"), top, "below", largest=0
        )
    return _Tails(*above, *below, *((shape.name, top.name) if known is None else (None, None)))


def _is_not_negative(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Clip" and len(node.inputs) > 1 and node.inputs[1] is not None:
        least = node.inputs[1].const_value
        return least is not None and bool(np.all(least.numpy() >= 0.0))
    return node.op_type in _NOT_NEGATIVE


def _elements(value: ir.Value) -> int | None:
    shape = value.shape
    if shape is None or not shape.is_static():
        return None
    return int(np.prod(np.array(shape.numpy(), np.int64)))


@dataclass(frozen=True, slots=True)
class _Builder:
    """Adds nodes behind one value."""

    graph: ir.Graph
    names: Names
    base: str

    def feed(self, role: str, length: int) -> ir.Value:
        value = ir.Value(
            name=self.names.value(f"{self.base}__{role}"),
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape([length]),
        )
        self.graph.inputs.append(value)
        return value

    def constant(self, role: str, numbers: Sequence[int]) -> ir.Value:
        name = self.names.value(f"{self.base}__{role}")
        return add_initializer(self.graph, name, np.array(numbers, np.int64))

    def apply(
        self, op_type: str, inputs: Iterable[ir.Value], role: str, shape: Sequence[None] | None
    ) -> ir.Value:
        whole = op_type.startswith("Reduce")
        return self.append(
            ir.node(op_type, list(inputs), {"keepdims": 0} if whole else {}), role, shape
        )

    def reduce(self, op_type: str, rows: ir.Value, axes: ir.Value | None, role: str) -> ir.Value:
        """Over the second axis of two."""
        if axes is None:
            node = ir.node(op_type, [rows], {"keepdims": 0, "axes": [1]})
        else:
            node = ir.node(op_type, [rows, axes], {"keepdims": 0})
        return self.append(node, role, [None])

    def extremes(
        self, rows: ir.Value, found: ir.Value, top: ir.Value, role: str, *, largest: int = 1
    ) -> tuple[str, str]:
        """The outputs with the rows whose extrema are the most extreme, and with those extrema."""
        options = {"largest": largest, "sorted": 0}
        choice = ir.node("TopK", [found, top], options, num_outputs=2)
        extrema = self.append(choice, f"{role}_extrema", [None])
        self.graph.outputs.append(extrema)
        places = choice.outputs[1]
        places.name = self.names.value(f"{self.base}__{role}_places")
        places.type, places.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([None])
        return self.give("Gather", [rows, places], role, [None, None]), extrema.name or ""

    def give(
        self, op_type: str, inputs: Iterable[ir.Value], role: str, shape: Sequence[None] | None
    ) -> str:
        output = self.apply(op_type, inputs, role, shape)
        self.graph.outputs.append(output)
        return output.name or ""

    def append(self, node: ir.Node, role: str, shape: Sequence[None] | None) -> ir.Value:
        """Add a node whose first output is named after its role; that output."""
        node.name = self.names.node(f"{self.base}__{role}")
        output = node.outputs[0]
        output.name = self.names.value(f"{self.base}__{role}")
        integer = node.op_type == "Size"
        output.type = ir.TensorType(ir.DataType.INT64 if integer else ir.DataType.FLOAT)
        output.shape = None if shape is None else ir.Shape(shape)
        self.graph.append(node)
        return output
