"""Loop and Scan seen as bodies with state that goes round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from edgeq.graph.rewire import Names

_Any = TypeVar("_Any")

_SCAN = 9
"""The opset from which the inputs of a Scan are its state and what it scans, and no lengths."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A Loop or Scan.

    Attributes:
        node: The node.
        body: What it runs.
        states: How many values go round.
        first: Number of the first of them among the inputs, those of the node and of the body.
        ahead: How many outputs the body has in front of them.
    """

    node: ir.Node
    body: ir.Graph
    states: int
    first: int
    ahead: int

    def initial(self, state: int) -> ir.Value | None:
        """What a state begins with."""
        return self.node.inputs[self.first + state]

    def before(self, state: int) -> ir.Value:
        """A state as a round finds it."""
        return self.body.inputs[self.first + state]

    def behind(self, state: int) -> ir.Value:
        """A state as a round leaves it."""
        return self.body.outputs[self.ahead + state]

    def without(self, outputs: Collection[int], names: Names) -> None:
        """Leave outputs out, and the states among them.

        Args:
            outputs: Their numbers. Nothing reads them, nor what a round finds as such a state.
            names: Where new names come from.
        """
        node, body = self.node, self.body
        states = {number for number in outputs if number < self.states}
        inputs = _but(node.inputs, {self.first + state for state in states})
        for number in sorted(outputs, reverse=True):
            del body.outputs[self.ahead + number]
        for state in sorted(states, reverse=True):
            del body.inputs[self.first + state]
        kept = _but(node.outputs, outputs)
        new = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            num_outputs=len(kept),
            name=node.name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        edits.graph_of(node).insert_before(node, new)
        for old, value in zip(kept, new.outputs, strict=True):
            _succeed(old, value, names)
        node.attributes.clear()
        rewire.remove(node)


def _but(values: Iterable[_Any], numbers: Collection[int]) -> list[_Any]:
    return [value for number, value in enumerate(values) if number not in numbers]


def _succeed(old: ir.Value, new: ir.Value, names: Names) -> None:
    """Let a value be what another one was, its name included."""
    name = walk.name_of(old)
    new.name, new.type, new.shape = names.value(f"{name}__kept"), old.type, old.shape
    is_output = old.is_graph_output()
    rewire.take_place(old, new)
    if not is_output:
        old.name, new.name = new.name, name


def read(node: ir.Node, version: int) -> RoundTrip | None:
    """The node as a round trip; None for others, and for those that are not understood."""
    body = next((graph for _, graph in walk.subgraphs(node)), None)
    if body is None or not is_op(node, "Loop", "Scan"):
        return None
    if is_op(node, "Loop"):
        found = RoundTrip(node, body, len(node.inputs) - 2, 2, 1)
    else:
        scanned = node.attributes.get_int("num_scan_inputs", 0)
        found = RoundTrip(node, body, len(node.inputs) - scanned, 0, 0)
    if is_op(node, "Scan") and (version < _SCAN or not len(node.inputs) - found.states):
        return None
    told = len(body.inputs) == len(node.inputs) and found.states >= 0
    return found if told and len(body.outputs) == len(node.outputs) + found.ahead else None


def source(value: ir.Value) -> ir.Value:
    """What a value is a copy of."""
    while (node := value.producer()) is not None and is_op(node, "Identity"):
        inner = node.inputs[0]
        if inner is None:
            break
        value = inner
    return value
