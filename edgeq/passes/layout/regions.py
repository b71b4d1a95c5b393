"""Finds what Transposes of one kind surround.

For an order of axes and its inverse, a tensor and its Transpose are one tensor that is kept in two
orders: side 0 is what Transposes with the order read, side 1 what they write. Nodes that work in
any order tie the sides of what they read and write; the others want each tensor as they have it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.graph import constants
from edgeq.graph.walk import is_op
from edgeq.passes.layout import permutation
from edgeq.passes.layout.rules import rule_for
from edgeq.passes.layout.sides import Sides

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

    from edgeq.passes.layout.permutation import Order
    from edgeq.passes.layout.ports import Ports
    from edgeq.passes.layout.rules import Rule


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A node that may work in either order.

    Attributes:
        node: The node.
        rule: The rule of its operator.
        ports: What is permuted with it.
        side: The side it works on now.
        order: What takes it to the other side.
    """

    node: ir.Node
    rule: Rule
    ports: Ports
    side: int
    order: Order


@dataclass(frozen=True, slots=True)
class Reading:
    """That something reads a tensor.

    Attributes:
        value: As what it reads it.
        side: The side of that value.
        node: The node; None for the caller, who reads outputs.
        index: As which input.
        member: The node as one that may work in either order.
        absorbs: Whether it is a Transpose of another kind: any order suits it.
    """

    value: ir.Value
    side: int
    node: ir.Node | None
    index: int
    member: Member | None = None
    absorbs: bool = False


@dataclass(slots=True, eq=False)
class Tensor:
    """A value and all Transposes of it.

    Attributes:
        root: The value that is not one of those Transposes.
        side: Its side.
        order: What takes it to the other side.
        producer: The node behind it, if it may work in either order.
        transposes: The Transposes, nearest to the root first.
        readings: Everything else that reads it.
    """

    root: ir.Value
    side: int
    order: Order
    producer: Member | None = None
    transposes: list[ir.Node] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Region:
    """Members and tensors that influence one another."""

    members: list[Member] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)


def kinds(graph: ir.Graph) -> list[Order]:
    """The orders of the graph's Transposes, one of each order and its inverse; frequent first."""
    found = (permutation.of(node) for node in graph)
    count = Counter(min(o, permutation.inverse(o)) for o in found if o is not None)
    return [o for o, _ in count.most_common() if o != tuple(sorted(o))]


def regions(graph: ir.Graph, order: Order, version: int, *, absorbing: bool = True) -> list[Region]:
    """All parts of a graph that hold Transposes with ``order`` or its inverse.

    Args:
        graph: The graph.
        order: The order.
        version: The opset.
        absorbing: Whether Transposes of other kinds may take in what one of this kind does.
    """
    return _Reader(graph, order, version, absorbing=absorbing).regions()


class _Reader:
    def __init__(self, graph: ir.Graph, order: Order, version: int, *, absorbing: bool) -> None:
        self._graph, self._absorbing = graph, absorbing
        self._away = (order, permutation.inverse(order))
        self._version = version
        self._outputs = set(graph.outputs)
        self._sides = Sides()
        self._members: dict[ir.Node, Member] = {}
        self._transposes: dict[ir.Node, None] = {}
        self._tensors: dict[ir.Value, Tensor] = {}

    def regions(self) -> list[Region]:
        linked = dict(self._linked())
        for node in self._graph:
            if self._is_of_kind(node) and self._contract(node):
                self._transposes[node] = None
        for node, rule in linked.items():
            member = self._member(node, rule)
            if member is not None and node not in self._transposes:
                self._members[node] = member
        return self._joined()

    def _linked(self) -> Iterator[tuple[ir.Node, Rule]]:
        """Ties what nodes read and write that may work in either order."""
        for node in self._graph:
            rule = rule_for(node, self._version)
            if rule is None or any(self._leaves(v) for v in node.outputs):
                continue
            answers = (rule.ports(node, order) for order in self._away)
            ports = next((p for p in answers if p is not None), None)
            if ports is None or (is_op(node, "Transpose") and not self._absorbs(node)):
                continue
            yield node, rule
            first, *others = _values(node, ports)
            for other in others:
                self._sides.tie(first, other, 0)

    def _absorbs(self, node: ir.Node) -> bool:
        return self._absorbing and not feeds_product(node)

    def _leaves(self, value: ir.Value) -> bool:
        """Whether a body hands out the value, which is of an outer graph, as it is."""
        return value.is_graph_output() and value not in self._outputs

    def _is_of_kind(self, node: ir.Node) -> bool:
        if permutation.of(node) not in self._away or constants.is_constant(node.inputs[0]):
            return False
        return not any(self._leaves(v) for v in (*node.inputs, *node.outputs) if v is not None)

    def _contract(self, node: ir.Node) -> bool:
        """Tie both ends of a Transpose to opposite sides, unless that contradicts other ties."""
        data, output = node.inputs[0], node.outputs[0]
        if self._away[0] == self._away[1]:
            return self._sides.tie(data, output, 1)
        side = self._away.index(permutation.of(node) or ())
        if not self._sides.would_tie(data, output, 1):
            return False
        if not self._sides.would_tie(data, None, side):
            return False
        return self._sides.tie(output, None, 1 - side) and self._sides.tie(data, None, side)

    def _member(self, node: ir.Node, rule: Rule) -> Member | None:
        ports = rule.ports(node, self._away[0]) or rule.ports(node, self._away[1])
        if ports is None:
            return None
        side = self._sides.of(_values(node, ports)[0])
        exact = rule.ports(node, self._away[side])
        return None if exact is None else Member(node, rule, exact, side, self._away[side])

    def _joined(self) -> list[Region]:
        """Sort members and tensors into regions; those without a Transpose are of no interest."""
        groups = Sides()
        for node in self._transposes:
            self._tensor(node.outputs[0]).transposes.append(node)
        for member in self._members.values():
            first, *others = [self._tensor(v) for v in _values(member.node, member.ports)]
            for other in others:
                groups.tie(first.root, other.root, 0)
        found: dict[ir.Value | None, Region] = defaultdict(Region)
        for tensor in self._tensors.values():
            if tensor.transposes:
                found[groups.find(tensor.root)[0]] = Region()
        for tensor in self._tensors.values():
            if (group := groups.find(tensor.root)[0]) in found:
                self._fill(tensor)
                found[group].tensors.append(tensor)
        for member in self._members.values():
            root = self._tensor(_values(member.node, member.ports)[0]).root
            if (group := groups.find(root)[0]) in found:
                found[group].members.append(member)
        return list(found.values())

    def _tensor(self, value: ir.Value) -> Tensor:
        root = value
        while (node := root.producer()) in self._transposes and node is not None:
            root = node.inputs[0] or root
        if root not in self._tensors:
            side = self._sides.of(root)
            self._tensors[root] = Tensor(root, side, self._away[side])
        return self._tensors[root]

    def _fill(self, tensor: Tensor) -> None:
        root = tensor.root
        producer = root.producer()
        member = self._members.get(producer) if producer is not None else None
        if member is not None and root.index() in member.ports.outputs:
            tensor.producer = member
        for value in (root, *(node.outputs[0] for node in tensor.transposes)):
            tensor.readings += self._readings(value)

    def _readings(self, value: ir.Value) -> Iterator[Reading]:
        side = self._sides.of(value)
        producer = value.producer()
        is_own = producer is not None and producer.graph is self._graph
        for use in value.uses():
            node, index = use.node, use.idx
            inside = node.graph is self._graph
            if node in self._transposes or not (inside or is_own):
                continue
            member = self._members.get(node)
            if member is not None and index in member.ports.inputs:
                yield Reading(value, side, node, index, member)
                continue
            absorbs = inside and member is not None and is_op(node, "Transpose")
            yield Reading(value, side, node, index, absorbs=absorbs)
        if value in self._outputs:
            yield Reading(value, side, None, 0)


def _values(node: ir.Node, ports: Ports) -> list[ir.Value]:
    found: Iterable[ir.Value | None] = (
        *(node.inputs[i] for i in ports.inputs),
        *(node.outputs[i] for i in ports.outputs),
    )
    return [value for value in found if value is not None]


def feeds_product(node: ir.Node) -> bool:
    """Whether a Transpose swaps the last two axes for MatMuls, which runtimes do while multiplying.

    onnxruntime does (core/optimizer/matmul_transpose_fusion.cc): such a Transpose costs nothing.
    """
    order = permutation.of(node)
    if order is None or len(order) < 2 or node.outputs[0].is_graph_output():
        return False
    swapped = (*range(len(order) - 2), len(order) - 1, len(order) - 2)
    uses = node.outputs[0].uses()
    return order == swapped and bool(uses) and all(is_op(use.node, "MatMul") for use in uses)
