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
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeq.graph.rewire import Names, add_initializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_TYPICAL = 128
"""Assumed of a dimension that the model leaves open, but for the first, which counts samples."""

_FAR = 2**62

_AXES_AS_INPUT = 18
"""Operator set from which ReduceMax and ReduceMin read their axes from an input."""

_SUM_AXES_AS_INPUT = 13
"""The same of ReduceSum."""

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
        split: Input: int64 [3], -1, the number of channels and of stretches in each; None where it
            is fixed or not needed.
        within: Elements of one channel, where the length of the stretches has to divide it.
        count: Number of channels then.
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
    split: str | None
    within: int | None
    count: int


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
    stretches: Callable[[int, int | None], tuple[int, int]],
    channels: Mapping[str, int] | None = None,
    is_divisible: Callable[[int], bool] = lambda _: False,
) -> Reduced:
    """Let the model return what is to know of some of its outputs instead of the outputs.

    Args:
        model: Changed in place.
        outputs: Outputs of its main graph that nodes of the main graph compute.
        stretches: From a number of elements, and of those of one channel where the length is to
            divide it, to the length of the stretches that a value is cut into and how many of them
            to hand out; asked where the graph tells the number.
        channels: The axis that counts channels, by name of the output.
        is_divisible: Whether the length can divide a number of elements of one channel.

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
        elements, channel = _elements(value), (channels or {}).get(build.base)
        within = _within(value, channel)
        within = within if within is not None and is_divisible(within) else None
        cut = None if elements is None else stretches(elements, within)
        tails = _tails(build, value, cut, axes, within, channel)
        low, high = _extrema(build, value, channel, opset, tails)
        start, step = build.feed("start", 1), build.feed("step", 1)
        line = build.apply("Reshape", [value, flat], "line")
        found[build.base] = Condensed(
            minimum=low or tails.minima or build.give("ReduceMin", [value], "minimum", 0),
            maximum=high or tails.maxima or build.give("ReduceMax", [value], "maximum", 0),
            channels=low is not None,
            total=_total(build, value, tails, inner, opset),
            part=build.give("Slice", [line, start, far, axis, step], "part", 1),
            size=None if elements is not None else build.give("Size", [value], "size", 0),
            elements=elements,
            above=tails.above,
            below=tails.below,
            maxima=tails.maxima,
            minima=tails.minima,
            start=start.name or "",
            step=step.name or "",
            shape=tails.shape,
            top=tails.top,
            split=tails.split,
            within=within,
            count=0 if within is None else _count(value, channel),
        )
    # What only other outputs needed would be computed all the same.
    RemoveUnusedNodesPass()(model)
    return Reduced({name: found[name] for name in reversed(found)}, whole)


def _within(value: ir.Value, axis: int | None) -> int | None:
    """Elements of one channel, where they lie behind each other and the graph tells how many."""
    if axis is None or value.shape is None or axis + 1 >= len(value.shape):
        return None
    sizes = [size for size in value.shape[axis:] if isinstance(size, int)]
    return int(np.prod(sizes[1:])) if len(sizes) == len(value.shape) - axis else None


def _count(value: ir.Value, axis: int | None) -> int:
    size = None if axis is None or value.shape is None else value.shape[axis]
    return size if isinstance(size, int) else 0


def _extrema(
    build: _Builder, value: ir.Value, axis: int | None, opset: int, tails: _Tails
) -> tuple[str, str] | tuple[None, None]:
    """Outputs with the extrema of the channels, over the axes behind them or else before them.

    Over the axes behind them the runtime reads the value once from front to back, or not at all
    where stretches are parts of channels; what is left before them (the batch) is short.
    """
    if axis is None or value.shape is None:
        return None, None
    rank = len(value.shape)
    over = list(range(axis + 1, rank)) or list(range(axis))
    if not over:
        return None, None
    given = build.constant("over", over) if opset >= _AXES_AS_INPUT else None
    third = (
        build.constant("third", [2]) if given is not None and tails.grouping is not None else None
    )
    found = []
    for op_type, role, rows in (
        ("ReduceMin", "minimum", tails.row_minima),
        ("ReduceMax", "maximum", tails.row_maxima),
    ):
        if rows is not None and tails.grouping is not None:
            grouped = build.apply("Reshape", [rows, tails.grouping], f"{role}_rows")
            found.append(build.output(build.reduce(op_type, grouped, third, role, axis=2), 2))
        else:
            inputs = [value] if given is None else [value, given]
            attributes: dict[str, int | list[int]] = {"keepdims": 0}
            if given is None:
                attributes["axes"] = over
            node = _node(op_type, inputs, attributes)
            found.append(build.output(build.append(node, role), rank - len(over)))
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
    split: str | None = None
    rows: ir.Value | None = None
    row_maxima: ir.Value | None = None
    row_minima: ir.Value | None = None
    grouping: ir.Value | None = None


def _tails(
    build: _Builder,
    value: ir.Value,
    known: tuple[int, int] | None,
    axes: ir.Value | None,
    within: int | None,
    channel: int | None,
) -> _Tails:
    """Add the stretches of one value; ``known`` are their length and number, where fixed."""
    if known is not None and not known[1]:
        return _Tails()
    grouping = None
    if known is None:
        shape, top = build.feed("shape", 2), build.feed("top", 1)
        grouping = build.feed("split", 3) if within is not None else None
    else:
        shape, top = build.constant("shape", [-1, known[0]]), build.constant("top", [known[1]])
        if within is not None:
            grouping = build.constant("split", [-1, _count(value, channel), within // known[0]])
    rows = build.apply("Reshape", [value, shape], "rows")
    maxima = build.reduce("ReduceMax", rows, axes, "row_maxima")
    above = build.extremes(rows, maxima, top, "above")
    below: tuple[str | None, str | None] = (None, None)
    minima = None
    if not _is_not_negative(value):
        minima = build.reduce("ReduceMin", rows, axes, "row_minima")
        below = build.extremes(rows, minima, top, "below", largest=0)
    feeds = (None, None) if known is not None else (shape.name, top.name)
    split = grouping.name if known is None and grouping is not None else None
    return _Tails(*above, *below, *feeds, split, rows, maxima, minima, grouping)


def _total(build: _Builder, value: ir.Value, tails: _Tails, axes: ir.Value, opset: int) -> str:
    """The output with the sum: by stretches, which the runtime adds up twice as fast."""
    if tails.rows is not None:
        given = axes if opset >= _SUM_AXES_AS_INPUT else None
        value = build.reduce("ReduceSum", tails.rows, given, "row_totals")
    return build.give("ReduceSum", [value], "total", 0)


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


def _node(
    op_type: str,
    inputs: Sequence[ir.Value],
    attributes: Mapping[str, int | list[int]],
    num_outputs: int = 1,
) -> ir.Node:
    """A node; ``ir.node`` would look at the type of everything, which counts for thousands."""
    made = [
        ir.AttrInt64(name, each) if isinstance(each, int) else ir.AttrInt64s(name, each)
        for name, each in attributes.items()
    ]
    return ir.Node("", op_type, inputs, made, num_outputs=num_outputs)


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

    def apply(self, op_type: str, inputs: Iterable[ir.Value], role: str) -> ir.Value:
        whole = op_type.startswith("Reduce")
        return self.append(_node(op_type, list(inputs), {"keepdims": 0} if whole else {}), role)

    def reduce(
        self, op_type: str, rows: ir.Value, axes: ir.Value | None, role: str, *, axis: int = 1
    ) -> ir.Value:
        """Over the last axis, which has this number, and is in ``axes`` where that is an input."""
        if axes is None:
            node = _node(op_type, [rows], {"keepdims": 0, "axes": [axis]})
        else:
            node = _node(op_type, [rows, axes], {"keepdims": 0})
        return self.append(node, role)

    def extremes(
        self, rows: ir.Value, found: ir.Value, top: ir.Value, role: str, *, largest: int = 1
    ) -> tuple[str, str]:
        """The outputs with the rows whose extrema are the most extreme, and with those extrema."""
        options = {"largest": largest, "sorted": 0}
        choice = _node("TopK", [found, top], options, num_outputs=2)
        extrema = self.output(self.append(choice, f"{role}_extrema"), 1)
        places = choice.outputs[1]
        places.name = self.names.value(f"{self.base}__{role}_places")
        return self.give("Gather", [rows, places], role, 2), extrema

    def give(self, op_type: str, inputs: Iterable[ir.Value], role: str, rank: int | None) -> str:
        """Add a node whose output the model returns; the output's name."""
        return self.output(self.apply(op_type, inputs, role), rank)

    def output(self, value: ir.Value, rank: int | None) -> str:
        """Let the model return a value. Types of others are left to the runtime: there are many."""
        node = value.producer()
        integer = node is not None and node.op_type == "Size"
        value.type = ir.TensorType(ir.DataType.INT64 if integer else ir.DataType.FLOAT)
        value.shape = None if rank is None else ir.Shape([None] * rank)
        self.graph.outputs.append(value)
        return value.name or ""

    def append(self, node: ir.Node, role: str) -> ir.Value:
        """Add a node whose first output is named after its role; that output."""
        node.name = self.names.node(f"{self.base}__{role}")
        output = node.outputs[0]
        output.name = self.names.value(f"{self.base}__{role}")
        self.graph.append(node)
        return output
