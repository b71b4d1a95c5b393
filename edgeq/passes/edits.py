"""Edits that several passes share, on top of :mod:`edgeq.graph.rewire`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.graph.rewire import Names
    from edgeq.types import Array


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds a node.

    Raises:
        ValueError: It is in none.
    """
    graph = node.graph
    if graph is None or isinstance(graph, ir.Function):
        raise ValueError(f"{node!r} is in no graph")
    return graph


def set_constant(node: ir.Node, index: int, data: Array, names: Names, base: str) -> None:
    """Let input ``index`` of ``node`` be a constant of its own, holding ``data``.

    A constant that other nodes read as well is forked: they keep the old numbers.
    """
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    old = node.inputs[index]
    wanted = old.name if old is not None and old.name else base
    alone = old is not None and len(old.uses()) == 1 and not old.is_graph_output()
    if old is not None and alone and old.is_initializer() and not old.is_graph_input():
        old.const_value = ir.Tensor(np.ascontiguousarray(data).reshape(data.shape), name=old.name)
        old.shape = ir.Shape(data.shape)
        old.dtype = old.const_value.dtype
        return
    new = rewire.add_initializer(graph_of(node), names.value(wanted), data)
    node.replace_input_with(index, new)


def add_node(
    anchor: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    names: Names,
    base: str,
    attributes: Mapping[str, int | float | str | Sequence[int]] | None = None,
    *,
    like: ir.Value | None = None,
    behind: bool = False,
    domain: str = "",
) -> ir.Value:
    """Insert a node next to ``anchor``; returns its output.

    Args:
        anchor: The node to stand in front of.
        op_type: The op.
        inputs: Its inputs.
        names: Where new names come from.
        base: What the node and its output should be called.
        attributes: Its attributes.
        like: A value of the same type and shape as the output, if there is one.
        behind: Stand behind the anchor instead.
        domain: The domain of the op.
    """
    node = ir.node(op_type, inputs, dict(attributes or {}), domain=domain)
    node.name = names.node(base)
    output = node.outputs[0]
    output.name = names.value(base)
    if like is not None:
        output.type, output.shape = like.type, like.shape
    graph = graph_of(anchor)
    (graph.insert_after if behind else graph.insert_before)(anchor, node)
    return output


def drop(nodes: Sequence[ir.Node]) -> None:
    """Remove nodes that form a dead chain, the last reader first."""
    for node in nodes:
        rewire.remove(node)


def constant(node: ir.Node, data: Array, names: Names, base: str) -> ir.Value:
    """A new constant in the graph of ``node``."""
    return rewire.add_initializer(graph_of(node), names.value(base), data)
