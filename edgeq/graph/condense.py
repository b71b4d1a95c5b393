"""Having the runtime itself reduce large outputs: extrema, sum, and an evenly spaced part.

Handing a large value out costs a copy of it in the runtime's plain layout that lives until the end
of the run, for every value at once. Reduced where it is made, while it is in the processor's cache,
it is freed before the next one, and a few kilobytes come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph.rewire import Names, add_initializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_TYPICAL = 128
"""Assumed of a dimension that the model leaves open, but for the first, which counts samples."""

_FAR = 2**62


@dataclass(frozen=True, slots=True)
class Condensed:
    """What is found where, of one value.

    Attributes:
        minimum: Output: least element, a scalar. Elements that are NaN may be passed over.
        maximum: Output: greatest element, a scalar; likewise.
        total: Output: sum of the elements, a scalar; NaN or infinite where an element is.
        part: Output: elements ``start``, ``start + step``... in C order, one dimension.
        size: Output: number of elements, int64 scalar; None where ``elements`` is known.
        elements: Number of elements where the graph tells it.
        start: Input: int64 [1].
        step: Input: int64 [1], positive.
    """

    minimum: str
    maximum: str
    total: str
    part: str
    size: str | None
    elements: int | None
    start: str
    step: str


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


def condense(model: ir.Model, outputs: Sequence[ir.Value]) -> Mapping[str, Condensed]:
    """Let the model return what is to know of some of its outputs instead of the outputs.

    Args:
        model: Changed in place.
        outputs: Outputs of its main graph that nodes of the main graph compute.

    Returns:
        By the name of the output.
    """
    graph, names = model.graph, Names(model)
    flat = add_initializer(graph, names.value("flat_shape"), np.array([-1], np.int64))
    axis = add_initializer(graph, names.value("first_axis"), np.array([0], np.int64))
    far = add_initializer(graph, names.value("far_end"), np.array([_FAR], np.int64))
    found: dict[str, Condensed] = {}
    gone = {id(value) for value in outputs}
    kept = [value for value in graph.outputs if id(value) not in gone]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    for value in outputs:
        build = _Builder(graph, names, value.name or "value")
        start, step = build.feed("start"), build.feed("step")
        line = build.apply("Reshape", [value, flat], "line")
        elements = _elements(value)
        found[build.base] = Condensed(
            minimum=build.give("ReduceMin", [value], "minimum"),
            maximum=build.give("ReduceMax", [value], "maximum"),
            total=build.give("ReduceSum", [value], "total"),
            part=build.give("Slice", [line, start, far, axis, step], "part"),
            size=None if elements is not None else build.give("Size", [value], "size"),
            elements=elements,
            start=start.name or "",
            step=step.name or "",
        )
    return found


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

    def feed(self, role: str) -> ir.Value:
        value = ir.Value(
            name=self.names.value(f"{self.base}__{role}"),
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape([1]),
        )
        self.graph.inputs.append(value)
        return value

    def apply(self, op_type: str, inputs: Iterable[ir.Value], role: str) -> ir.Value:
        reduces = op_type.startswith("Reduce")
        node = ir.node(op_type, list(inputs), {"keepdims": 0} if reduces else {})
        node.name = self.names.node(f"{self.base}__{role}")
        output = node.outputs[0]
        output.name = self.names.value(f"{self.base}__{role}")
        integer = op_type == "Size"
        output.type = ir.TensorType(ir.DataType.INT64 if integer else ir.DataType.FLOAT)
        output.shape = ir.Shape([] if reduces or integer else [None])
        self.graph.append(node)
        return output

    def give(self, op_type: str, inputs: Iterable[ir.Value], role: str) -> str:
        output = self.apply(op_type, inputs, role)
        self.graph.outputs.append(output)
        return output.name or ""
