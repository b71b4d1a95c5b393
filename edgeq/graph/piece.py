"""Cutting the part out of a model that leads from some values to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph.walk import subgraphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def ancestors(
    targets: Iterable[ir.Value], stops_at: Callable[[ir.Value], bool]
) -> tuple[set[ir.Node], set[ir.Value]]:
    """The nodes that values of the main graph are computed by.

    Args:
        targets: The values.
        stops_at: Whether a value need not be computed.

    Returns:
        The nodes, and the values among their inputs at which the search stopped; constants and
        what bodies read of the main graph count as inputs, too.
    """
    found: set[ir.Node] = set()
    border: set[ir.Value] = set()
    waiting = list(targets)
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        if stops_at(value):
            border.add(value)
        elif producer is not None and producer not in found:
            found.add(producer)
            waiting.extend(inputs_of(producer))
    return found, border


def inputs_of(node: ir.Node) -> list[ir.Value]:
    """What a node reads from its own graph, also in its bodies."""
    read = [value for value in node.inputs if value is not None]
    for _, body in subgraphs(node):
        for inner in ir.traversal.RecursiveGraphIterator(body):
            read += [v for v in inner.inputs if v is not None and v.graph is node.graph]
    return read


def piece(model: ir.Model, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> ir.Model:
    """A model that computes ``outputs`` from ``inputs``, all of them values of the main graph.

    Args:
        model: Left as it is; tensors are shared with the piece.
        inputs: Where computing starts; all are read on the way to the outputs.
        outputs: What it leads to.

    Returns:
        A model with inputs and outputs of the same names.
    """
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    # Its own opset imports: functions keep theirs.
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))
