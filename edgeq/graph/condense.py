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
"""Operators without a tail below zero (ONNX operators of these names); Clip where its bound says so."""


@dataclass(frozen=True, slots=True)
class Condensed:
    """What is found where, of one value.

    Attributes:
        minimum: Output: the minima of the stretches ``below``, [top], of which the least is that of
            all elements; without those stretches just that, a scalar. Elements that are NaN may be
            passed over.
        maximum: Output: likewise.
        total: Output: sum of the elements, a scalar; NaN or infinite where an element is.
        part: Output: elements ``start``, ``start + step``... in C order, one dimension.
        size: Output: number of elements, int64 scalar; None where ``elements`` is known.
        elements: Number of elements where the graph tells it.
        above: Output: the stretches with the greatest maxima, [top, length]; None where there are
            none to be read.
        below: Output: those with the least minima; also None where nothing is negative.
        start: Input: int64 [1].
        step: Input: int64 [1], positive.
        shape: Input: int64 [2], the stretches and their length, either -1; None where fixed.
        top: Input: int64 [1], the stretches to hand out; None where fixed.
    """

    minimum: str
    maximum: str
    total: str
    part: str
    size: str | None
    elements: int | None
    above: str | None
    below: str | None
    start: str
    step: str
    shape: str | None
    top: str | None


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
    model: ir.Model, outputs: Sequence[ir.Value], stretches: Callable[[int], tuple[int, int]]
) -> Mapping[str, Condensed]:
    """Let the model return what is to know of some of its outputs instead of the outputs.

    Args:
        model: Changed in place.
        outputs: Outputs of its main graph that nodes of the main graph compute.
        stretches: From a number of elements to the length of the stretches that a value is cut
            into and how many of them to hand out; asked where the graph tells the number.

    Returns:
        By the name of the output.
    """
    graph, names = model.graph, Names(model)
    flat = add_initializer(graph, names.value("flat_shape"), np.array([-1], np.int64))
    axis = add_initializer(graph, names.value("first_axis"), np.array([0], np.int64))
    inner = add_initializer(graph, names.value("inner_axis"), np.array([1], np.int64))
    far = add_initializer(graph, names.value("far_end"), np.array([_FAR], np.int64))
    axes = inner if (model.graph.opset_imports.get("") or 0) >= _AXES_AS_INPUT else None
    found: dict[str, Condensed] = {}
    gone = {id(value) for value in outputs}
    kept = [value for value in graph.outputs if id(value) not in gone]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    for value in outputs:
        build = _Builder(graph, names, value.name or "value")
        elements = _elements(value)
        tails = _tails(build, value, None if elements is None else stretches(elements), axes)
        start, step = build.feed("start", 1), build.feed("step", 1)
        line = build.apply("Reshape", [value, flat], "line", [None])
        found[build.base] = Condensed(
            minimum=tails.minima or build.give("ReduceMin", [value], "minimum", []),
            maximum=tails.maxima or build.give("ReduceMax", [value], "maximum", []),
            total=build.give("ReduceSum", [value], "total", []),
            part=build.give("Slice", [line, start, far, axis, step], "part", [None]),
            size=None if elements is not None else build.give("Size", [value], "size", []),
            elements=elements,
            above=tails.above,
            below=tails.below,
            start=start.name or "",
            step=step.name or "",
            shape=tails.shape,
            top=tails.top,
        )
    return found


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
        self, op_type: str, inputs: Iterable[ir.Value], role: str, shape: Sequence[None]
    ) -> ir.Value:
        whole = op_type.startswith("Reduce")
        return self._append(
            ir.node(op_type, list(inputs), {"keepdims": 0} if whole else {}), role, shape
        )

    def reduce(self, op_type: str, rows: ir.Value, axes: ir.Value | None, role: str) -> ir.Value:
        """Over the second axis of two."""
        if axes is None:
            node = ir.node(op_type, [rows], {"keepdims": 0, "axes": [1]})
        else:
            node = ir.node(op_type, [rows, axes], {"keepdims": 0})
        return self._append(node, role, [None])

    def extremes(
        self, rows: ir.Value, found: ir.Value, top: ir.Value, role: str, *, largest: int = 1
    ) -> tuple[str, str]:
        """The outputs with the rows whose extrema are the most extreme, and with those extrema."""
        options = {"largest": largest, "sorted": 0}
        choice = ir.node("TopK", [found, top], options, num_outputs=2)
        extrema = self._append(choice, f"{role}_extrema", [None])
        self.graph.outputs.append(extrema)
        places = choice.outputs[1]
        places.name = self.names.value(f"{self.base}__{role}_places")
        places.type, places.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([None])
        return self.give("Gather", [rows, places], role, [None, None]), extrema.name or ""

    def give(
        self, op_type: str, inputs: Iterable[ir.Value], role: str, shape: Sequence[None]
    ) -> str:
        output = self.apply(op_type, inputs, role, shape)
        self.graph.outputs.append(output)
        return output.name or ""

    def _append(self, node: ir.Node, role: str, shape: Sequence[None]) -> ir.Value:
        node.name = self.names.node(f"{self.base}__{role}")
        output = node.outputs[0]
        output.name = self.names.value(f"{self.base}__{role}")
        integer = node.op_type == "Size"
        output.type = ir.TensorType(ir.DataType.INT64 if integer else ir.DataType.FLOAT)
        output.shape = ir.Shape(shape)
        self.graph.append(node)
        return output
