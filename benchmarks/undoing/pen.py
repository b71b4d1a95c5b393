"""Writes nodes into a model, with the forms that its opset has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, shapes, walk
from edgeq.passes import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeq.types import Array

    Operand: TypeAlias = "ir.Value | Array | None"


class Pen:
    """A model that is being rewritten.

    Args:
        model: Changed in place.
        seed: Seed of what is made up: scales, means.

    Attributes:
        opset: The version of the default domain.
        rng: Generator of what is made up.
    """

    def __init__(self, model: ir.Model, seed: int = 0) -> None:
        self.model = model
        self.opset = pattern.opset(model)
        self.rng = np.random.default_rng(seed)
        self._names = rewire.Names(model)
        shapes.infer(model)

    def nodes(self, *op_types: str) -> Iterator[ir.Node]:
        """The nodes there are now, bodies included; of the named operators, if any are named."""
        for node in walk.nodes(self.model):
            if not op_types or walk.is_op(node, *op_types):
                yield node

    def before(self, node: ir.Node) -> Line:
        """Nodes to be written in front of ``node``."""
        return Line(self, node, behind=False)

    def behind(self, node: ir.Node) -> Line:
        """Nodes to be written behind ``node``, one after the other."""
        return Line(self, node, behind=True)

    def constant(self, graph: ir.Graph, data: Array, base: str = "number") -> ir.Value:
        """A new initializer."""
        return rewire.add_initializer(graph, self._names.value(base), np.asarray(data))

    def name(self, node: ir.Node, base: str) -> ir.Node:
        """Name a node and those of its outputs that have no name."""
        node.name = self._names.node(base)
        for output in node.outputs:
            output.name = output.name or self._names.value(base)
        return node

    def fresh(self, base: str) -> str:
        """A new name of a value."""
        return self._names.value(base)

    def set_constant(self, node: ir.Node, index: int, data: Array) -> None:
        """Let an input be a constant of its own."""
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, self.constant(graph_of(node), data))

    def replace(self, node: ir.Node, new: ir.Value) -> None:
        """Let ``new`` serve the readers of a node of one output, and remove the node."""
        old = node.outputs[0]
        new.type, new.shape = old.type, old.shape
        rewire.take_place(old, new)
        rewire.remove(node)

    def follow(self, value: ir.Value, write: Callable[[Line, ir.Value], ir.Value]) -> None:
        """Write a chain behind a value; all that read the value read the chain's end from now on.

        Args:
            value: Output of a node.
            write: Gets the place to write to and the value; returns the end of the chain.
        """
        producer = value.producer()
        if producer is None:
            raise ValueError(f"{value!r} has no producer")
        uses = [(use.node, use.idx) for use in value.uses()]
        end = write(self.behind(producer), value)
        end.type, end.shape = value.type, value.shape
        rewire.redirect(uses, end)
        if value.is_graph_output():
            rewire.hand_over_output(value, end)


@dataclass
class Line:
    """A place to write nodes to."""

    pen: Pen
    anchor: ir.Node
    behind: bool

    def __call__(self, op_type: str, *inputs: Operand, **attributes: Any) -> ir.Value:
        """Write a node; arrays among its inputs become constants. Returns its output."""
        graph = graph_of(self.anchor)
        values = [self.pen.constant(graph, v) if isinstance(v, np.ndarray) else v for v in inputs]
        node = self.pen.name(ir.node(op_type, values, attributes), op_type.lower())
        if self.behind:
            graph.insert_after(self.anchor, node)
            self.anchor = node
        else:
            graph.insert_before(self.anchor, node)
        return node.outputs[0]

    def along(self, op_type: str, value: Operand, axes: list[int], since: int = 13) -> ir.Value:
        """A node whose axes are an attribute before opset ``since``, and an input from then on."""
        if self.pen.opset < since:
            return self(op_type, value, axes=axes)
        return self(op_type, value, np.array(axes, np.int64))

    def reduce(self, op_type: str, value: ir.Value, axes: list[int]) -> ir.Value:
        """A reduction that keeps its dimensions."""
        since = 13 if op_type == "ReduceSum" else 18
        return self.along(op_type, value, axes, since)


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds a node."""
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"{node!r} is in no graph")
    return node.graph


def floats(value: ir.Value | None) -> Array | None:
    """The numbers of a constant of type float32; None for anything else."""
    found = constants.array(value)
    return found if found is not None and found.dtype == np.float32 else None


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def is_float(value: ir.Value) -> bool:
    """Whether the value is known to be a float32 tensor."""
    return value.dtype == ir.DataType.FLOAT and isinstance(value.type, ir.TensorType)
