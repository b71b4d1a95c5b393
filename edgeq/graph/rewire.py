"""Edits of the graph. Every other layer describes what it wants; only here values change hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph.walk import name_of, subgraphs, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.graph.naming import Tensor
    from edgeq.types import Array


class Names:
    """Gives names that are new to the whole model, bodies included."""

    def __init__(self, model: ir.Model) -> None:
        self._values = set(values(model))
        self._nodes = {n.name for n in ir.traversal.RecursiveGraphIterator(model.graph) if n.name}

    def value(self, wanted: str) -> str:
        """``wanted`` itself, or with the first free number behind it."""
        return _free(wanted, self._values)

    def node(self, wanted: str) -> str:
        """``wanted`` itself, or with the first free number behind it."""
        return _free(wanted, self._nodes)


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        name = f"{wanted}_{number}"
        number += 1
    taken.add(name)
    return name


def add_initializer(graph: ir.Graph, name: str, data: Array) -> ir.Value:
    """Register a constant in ``graph`` under a name that the caller knows to be free."""
    return add_tensor(graph, ir.Tensor(np.ascontiguousarray(data).reshape(data.shape), name=name))


def add_tensor(graph: ir.Graph, tensor: Tensor) -> ir.Value:
    """Register a tensor in ``graph`` as a constant of its name, which the caller knows to be free.

    Args:
        graph: Changed in place.
        tensor: One that reads or makes its data when it is asked for stays as it is.
    """
    value = ir.Value(
        name=tensor.name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.shape.numpy()),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def redirect(uses: Iterable[tuple[ir.Node, int]], replacement: ir.Value) -> None:
    """Let each use (node, input number) read ``replacement``."""
    for node, index in list(uses):
        node.replace_input_with(index, replacement)


def take_place(old: ir.Value, new: ir.Value) -> None:
    """Let ``new`` serve everything that reads ``old``, graph outputs included.

    When ``old`` is an output of its graph, ``new`` takes over its name, type and shape, and
    ``old`` is renamed, so that the interface stays as it was.

    Args:
        old: A value of the same graph as ``new`` (or of an outer one).
        new: Its replacement. Its producer, if it reads ``old``, goes on reading it.
    """
    producer = new.producer()
    redirect([(u.node, u.idx) for u in old.uses() if u.node is not producer], new)
    if old.is_graph_output():
        hand_over_output(old, new)


def hand_over_output(old: ir.Value, new: ir.Value) -> None:
    """Let ``new`` be the graph output that ``old`` was, under its name; other readers stay.

    Args:
        old: An output of its graph; renamed.
        new: A value of the same graph or of an outer one.
    """
    producer, graph = new.producer(), old.graph
    if graph is None:
        raise ValueError(f"{old!r} belongs to no graph")
    if new.is_graph_output() or producer is None or producer.graph is not graph:
        new = _through_identity(graph, new)
    for position, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[position] = new
    name = name_of(old)
    old.name = f"{name}__{new.name}"
    new.name = name
    new.type, new.shape = old.type, old.shape
    new.doc_string = old.doc_string
    new.metadata_props.update(old.metadata_props)


def _through_identity(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A fresh value equal to ``value``: an output needs a producer of its own."""
    node = ir.Node("", "Identity", [value], outputs=[ir.Value(name=f"{name_of(value)}__identity")])
    node.name = f"{name_of(value)}__identity"
    graph.append(node)
    return node.outputs[0]


def replace_node(node: ir.Node, made: Sequence[ir.Node], results: Sequence[ir.Value]) -> None:
    """Put nodes in the place of one; its outputs hand their names, types and uses on.

    Args:
        node: What goes; it may leave outputs out.
        made: What comes, in the order of execution.
        results: The value that each output of ``node`` becomes.
    """
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node!r} is in no graph")
    graph.insert_before(node, made)
    for old, new in zip(node.outputs, results, strict=True):
        if not old.name:
            continue
        name, shape, kind = old.name, old.shape, old.type
        take_place(old, new)
        old.name = f"{name}__replaced"
        new.name, new.shape, new.type = name, shape, kind
    remove(node)


def insert_after(anchor: ir.Value, new_nodes: Sequence[ir.Node], graph: ir.Graph) -> None:
    """Put nodes right behind the producer of ``anchor``, or first in ``graph`` if it has none."""
    producer = anchor.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, new_nodes)
    elif len(graph):
        graph.insert_before(graph[0], new_nodes)
    else:
        graph.extend(new_nodes)


def remove(node: ir.Node) -> None:
    """Take a node whose outputs nobody reads out of its graph.

    Raises:
        ValueError: An output is still read.
    """
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node!r} is in no graph")
    graph.remove(node, safe=True)
    release(node)


def release(removed: ir.Node) -> None:
    """Let the bodies of a node that is in no graph any more read nothing.

    onnx-ir goes on counting what they read as used, which keeps it alive and shared.
    """
    for _, body in subgraphs(removed):
        for node in ir.traversal.RecursiveGraphIterator(body):
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)


def drop_unused_initializers(model: ir.Model) -> int:
    """Forget initializers that nothing reads; returns how many. Inputs with a default stay."""
    dropped = 0
    for graph in model.graphs():
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del graph.initializers[name]
                dropped += 1
    return dropped
