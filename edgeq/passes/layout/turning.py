"""Rewrites a region for a labelling: nodes on their sides, Transposes where sides meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import rewire
from edgeq.graph.walk import name_of
from edgeq.passes.layout import permutation
from edgeq.passes.layout.problem import made
from edgeq.passes.layout.turns import Turn

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.layout.permutation import Order
    from edgeq.passes.layout.problem import Labels
    from edgeq.passes.layout.regions import Member, Reading, Region, Tensor


def turn(graph: ir.Graph, region: Region, labels: Labels, names: Names) -> None:
    """Let every member work on the side of its label.

    Args:
        graph: The graph of the region.
        region: As it was read; of no use afterwards.
        labels: The side of each member.
        names: Where new names come from.
    """
    for member in region.members:
        if labels[member] != member.side:
            _turn_node(member, names)
    for tensor in region.tensors:
        _Holders(graph, tensor, labels, names).serve()
    for tensor in region.tensors:
        for node in reversed(tensor.transposes):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                rewire.remove(node)


def _turn_node(member: Member, names: Names) -> None:
    member.rule.turn(Turn(member.node, member.order, names))
    for index in member.ports.outputs:
        output = member.node.outputs[index]
        if output.shape is not None:
            output.shape = permutation.reordered(output.shape, member.order)


class _Holders:
    """The values that hold a tensor on either side."""

    def __init__(self, graph: ir.Graph, tensor: Tensor, labels: Labels, names: Names) -> None:
        self._graph, self._tensor, self._labels, self._names = graph, tensor, labels, names
        self._side = made(tensor, labels)
        self._values = {self._side: tensor.root}
        if self._side == tensor.side:
            for node in tensor.transposes:
                if node.inputs[0] is tensor.root and len(self._values) == 1:
                    self._values[1 - self._side] = node.outputs[0]
                    self._move_ahead(node)

    def _move_ahead(self, node: ir.Node) -> None:
        """Nodes in front of a Transpose may read it from now on: it goes right behind the root."""
        if self._graph[0] is not node:
            rewire.insert_after(self._tensor.root, [node], self._graph)

    def serve(self) -> None:
        """Let all readers read the tensor on the side they work on."""
        for reading in self._tensor.readings:
            if reading.absorbs:
                self._absorb(reading)
            elif reading.node is not None:
                side = reading.side if reading.member is None else self._labels[reading.member]
                if (value := self._on(side)) is not reading.value:
                    reading.node.replace_input_with(reading.index, value)
        for reading in self._tensor.readings:
            if reading.node is None and (value := self._on(reading.side)) is not reading.value:
                self._hand_over(reading.value, value)

    def _hand_over(self, old: ir.Value, new: ir.Value) -> None:
        """An output keeps its shape, though the value that it was has been turned."""
        shape = old.shape
        if old is self._tensor.root and self._side != self._tensor.side:
            old.shape = new.shape
        rewire.hand_over_output(old, new)
        old.shape = shape

    def _on(self, side: int) -> ir.Value:
        if side not in self._values:
            root = self._tensor.root
            order = self._tensor.order
            if self._side != self._tensor.side:
                order = permutation.inverse(order)
            self._values[side] = self._transposed(root, order)
        return self._values[side]

    def _transposed(self, root: ir.Value, order: Order) -> ir.Value:
        base = f"{name_of(root)}__transposed"
        node = ir.node("Transpose", [root], {"perm": list(order)})
        node.name = self._names.node(base)
        output = node.outputs[0]
        output.name, output.type = self._names.value(base), root.type
        if root.shape is not None:
            output.shape = permutation.reordered(root.shape, order)
        rewire.insert_after(root, [node], self._graph)
        return output

    def _absorb(self, reading: Reading) -> None:
        """Let a Transpose of another kind do this one's work as well."""
        node, root = reading.node, self._tensor.root
        own = None if node is None else permutation.of(node)
        if node is None or own is None:
            return
        if self._side != reading.side:
            # What it reads is now in the order that takes its old input to the other side.
            order = self._tensor.order
            if reading.side != self._tensor.side:
                order = permutation.inverse(order)
            back = permutation.inverse(order)
            node.attributes.add(ir.AttrInt64s("perm", permutation.permuted(back, own)))
        if reading.value is not root:
            node.replace_input_with(reading.index, root)
