"""Walking a model with its bodies: the subgraphs of If, Loop and Scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

MICROSOFT: Final = "com.microsoft"
"""The domain of onnxruntime's own operators."""


@dataclass(frozen=True, slots=True)
class Body:
    """A subgraph and where it hangs.

    Attributes:
        node: The control-flow node that owns it.
        attribute: The attribute that holds it (``then_branch``, ``body``, ...).
    """

    node: ir.Node
    attribute: str


def nodes(model: ir.Model) -> list[ir.Node]:
    """Every node, bodies included, each before the nodes of its own bodies."""
    return list(ir.traversal.RecursiveGraphIterator(model.graph))


def computing(model: ir.Model) -> list[ir.Node]:
    """Every node that computes: all but Constant nodes, which are stored."""
    return [node for node in nodes(model) if not is_op(node, "Constant")]


def bodies(model: ir.Model) -> dict[ir.Graph, Body]:
    """The owner of every subgraph; the main graph has none."""
    found: dict[ir.Graph, Body] = {}
    for node in nodes(model):
        for name, graph in subgraphs(node):
            found[graph] = Body(node, name)
    return found


def subgraphs(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """The bodies of a node, by attribute name."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.name, attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield attribute.name, graph


def path_to(graph: ir.Graph, owners: dict[ir.Graph, Body]) -> list[Body]:
    """The owners of a graph, innermost first; empty for the main graph."""
    path = []
    while graph in owners:
        body = owners[graph]
        path.append(body)
        if not isinstance(body.node.graph, ir.Graph):
            break
        graph = body.node.graph
    return path


def values(model: ir.Model) -> dict[str, ir.Value]:
    """Every named value of the model: inputs, initializers and node outputs, bodies included."""
    found: dict[str, ir.Value] = {}
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.initializers.values()):
            if value.name:
                found[value.name] = value
        for node in graph:
            for value in node.outputs:
                if value.name:
                    found[value.name] = value
    return found


def name_of(value: ir.Value) -> str:
    """The name of a value that loading has named.

    Raises:
        ValueError: The value has no name.
    """
    if not value.name:
        raise ValueError(f"unnamed value {value!r}")
    return value.name


def node_name(node: ir.Node) -> str:
    """The name of a node that loading has named.

    Raises:
        ValueError: The node has no name.
    """
    if not node.name:
        raise ValueError(f"unnamed node {node!r}")
    return node.name


def is_op(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of the named operators of the default ONNX domain."""
    return node.domain in ("", "ai.onnx") and node.op_type in op_types
