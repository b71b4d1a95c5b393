"""Sums over inner values that the runtime itself makes, so that only a few numbers come out.

A difference of two large values is squared and summed where it is made, while it is in the
processor's cache. All sums of a graph leave it as one vector; those of a body are handed up through
the node that owns it: an If hands up zeros from the branch that was not taken, a loop's vectors are
added up over its iterations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import onnx_ir as ir

from edgeq.graph.rewire import Names, add_initializer
from edgeq.graph.walk import bodies, name_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from edgeq.graph.walk import Body

Bounds: TypeAlias = tuple[float, float]
EVERYTHING: Final[Bounds] = (-math.inf, math.inf)

_LOOPS = ("Loop", "Scan")
_SUM_AXES_INPUT = 13
"""Opset version from which ReduceSum takes its axes as an input (ONNX operator ReduceSum)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one sum is found in what a run returns.

    Attributes:
        output: Name of the output: a float32 vector.
        index: Of the sum in it.
    """

    output: str
    index: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The sums that compare two values.

    Attributes:
        signal: Of the squares of the reference.
        noise: Of the squares of the differences.
    """

    signal: Place
    noise: Place


class Meters:
    """Adds sums to a model and finally makes them its only outputs.

    Args:
        model: Changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._names = Names(model)
        self._flat: dict[ir.Graph, ir.Value] = {}
        self._terms: dict[ir.Graph, list[ir.Value]] = {}
        self._signals: dict[tuple[ir.Graph, ir.Value], ir.Value] = {}
        self._cut: dict[tuple[ir.Graph, ir.Value, Bounds], ir.Value] = {}
        self._wanted: dict[Hashable, tuple[ir.Graph, ir.Value, ir.Value]] = {}

    def compare(
        self, key: Hashable, reference: ir.Value, other: ir.Value, within: Bounds = EVERYTHING
    ) -> None:
        """Measure how far ``other`` is from ``reference``.

        Args:
            key: Under which :meth:`finish` returns the reading.
            reference: A float value of the same graph as ``other``, or of an outer one.
            other: A float value that a node computes, of the same shape.
            within: What lies beyond these bounds counts as being at the bound, on both sides.
        """
        node = other.producer()
        graph = None if node is None else node.graph
        if not isinstance(graph, ir.Graph):
            raise ValueError(f"{other!r} is computed by no node")  # noqa: TRY004 - not a type
        # In the graph of the other: what a branch that is not taken would measure does not count.
        exact = self._within(graph, reference, within)
        if (graph, exact) not in self._signals:
            self._signals[graph, exact] = self._squared(graph, exact, reference)
        base = name_of(other)
        other = self._within(graph, other, within)
        difference = self._apply(graph, "Sub", [exact, other], f"{base}__difference")
        noise = self._squared(graph, difference, other)
        self._wanted[key] = (graph, self._signals[graph, exact], noise)

    def finish(self) -> dict[Hashable, Reading]:
        """Let the model return the sums and nothing else."""
        owners = bodies(self._model)
        self._model.graph.outputs.clear()
        outputs: dict[ir.Graph, str] = {}
        index: dict[ir.Value, int] = {}
        for graph, terms in self._terms.items():
            vector = self._apply(graph, "Concat", terms, "sums", axis=0)
            vector.shape = ir.Shape([len(terms)])
            index |= {term: number for number, term in enumerate(terms)}
            outer = self._hand_up(vector, graph, owners, len(terms))
            self._model.graph.outputs.append(outer)
            outputs[graph] = name_of(outer)
        return {
            key: Reading(*(Place(outputs[graph], index[term]) for term in pair))
            for key, (graph, *pair) in self._wanted.items()
        }

    def _within(self, graph: ir.Graph, value: ir.Value, bounds: Bounds) -> ir.Value:
        if bounds == EVERYTHING:
            return value
        key = (graph, value, bounds)
        if key not in self._cut:
            ends = [
                add_initializer(graph, self._names.value("bound"), np.array(bound, np.float32))
                for bound in bounds
            ]
            self._cut[key] = self._apply(graph, "Clip", [value, *ends], f"{value.name}__cut")
            self._cut[key].shape = value.shape
        return self._cut[key]

    def _squared(self, graph: ir.Graph, value: ir.Value, named: ir.Value) -> ir.Value:
        """Sum of squares, of shape [1]."""
        if graph not in self._flat:
            name = self._names.value("flat_shape")
            self._flat[graph] = add_initializer(graph, name, np.array([-1], np.int64))
        base = name_of(named)
        line = self._apply(graph, "Reshape", [value, self._flat[graph]], f"{base}__line")
        total = self._apply(graph, "ReduceSumSquare", [line], f"{base}__energy", keepdims=1)
        self._terms.setdefault(graph, []).append(total)
        return total

    def _apply(
        self, graph: ir.Graph, op_type: str, inputs: Sequence[ir.Value], output: str, **given: int
    ) -> ir.Value:
        node = ir.node(op_type, inputs, given)
        node.name = self._names.node(output)
        node.outputs[0].name = self._names.value(output)
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graph.append(node)
        return node.outputs[0]

    def _hand_up(
        self, vector: ir.Value, graph: ir.Graph, owners: Mapping[ir.Graph, Body], size: int
    ) -> ir.Value:
        """Give a vector of a body to the main graph, through every node around it."""
        while graph in owners:
            node = owners[graph].node
            graph.outputs.append(vector)
            if node.op_type not in _LOOPS:
                self._hand_up_nothing(node, graph, size)
            node.resize_outputs(len(node.outputs) + 1)
            outer = node.outputs[-1]
            outer.name = self._names.value("sums")
            outer.type = ir.TensorType(ir.DataType.FLOAT)
            if not isinstance(node.graph, ir.Graph):
                raise ValueError(f"{node!r} belongs to no graph")  # noqa: TRY004 - not a type
            graph = node.graph
            vector = outer if node.op_type not in _LOOPS else self._over(graph, node, outer)
            vector.shape = ir.Shape([size])
        return vector

    def _hand_up_nothing(self, node: ir.Node, taken: ir.Graph, size: int) -> None:
        for attribute in node.attributes.values():
            branch = attribute.as_graph() if attribute.type == ir.AttributeType.GRAPH else taken
            if branch is not taken:
                tensor = ir.Tensor(np.zeros(size, np.float32), name="nothing")
                constant = ir.node("Constant", [], {"value": tensor})
                constant.name = self._names.node("no_sums")
                constant.outputs[0].name = self._names.value("no_sums")
                constant.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
                constant.outputs[0].shape = ir.Shape([size])
                branch.append(constant)
                branch.outputs.append(constant.outputs[0])

    def _over(self, graph: ir.Graph, loop: ir.Node, vectors: ir.Value) -> ir.Value:
        """The sum over all iterations of a loop."""
        for name in ("scan_output_axes", "scan_output_directions"):
            if name in loop.attributes:
                given = loop.attributes[name].as_ints()
                loop.attributes[name] = ir.AttrInt64s(name, [*given, 0])
        version = self._model.opset_imports.get("", _SUM_AXES_INPUT)
        if version < _SUM_AXES_INPUT:
            node = ir.node("ReduceSum", [vectors], {"axes": [0], "keepdims": 0})
        else:
            axes = add_initializer(graph, self._names.value("axis"), np.array([0], np.int64))
            node = ir.node("ReduceSum", [vectors, axes], {"keepdims": 0})
        node.name = self._names.node("all_sums")
        node.outputs[0].name = self._names.value("all_sums")
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        graph.append(node)
        return node.outputs[0]
