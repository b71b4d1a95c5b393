"""Which nodes run in integers so that the whole is fastest: a cut through measured times.

Every node that can run in integers stands on one of two sides. It pays its time on that side, and
what passes between the sides pays for a conversion: the cheapest division is a minimum cut. The
times of single nodes do not add up exactly, so every division is built and timed as a whole, and
only what is faster then stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.passes.layout.mincut import INFINITE, Network
from edgeq.quantization.plan import NodeForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.tuning.costs import Costs

_NANOSECONDS = 1000
"""Capacities are whole numbers."""


def slower_in_integers(
    model: ir.Model, annotations: Annotations, costs: Costs, worth: Mapping[str, float]
) -> frozenset[str]:
    """The nodes to leave float so that the sum of all times is least.

    Args:
        model: The float model.
        annotations: What could run in integers.
        costs: What each node takes on each side, and conversions.
        worth: Microseconds that having a node in integers is worth, whatever it takes.

    Returns:
        Names of nodes that run in integers, statically or dynamically, and should not.
    """
    forms = {name: decision.form for name, decision in annotations.decisions.items()}
    cut = _Cut(costs, worth, {n for n, form in forms.items() if form is NodeForm.STATIC})
    absorbed = annotations.makers
    for node in nodes(model):
        cut.node(node, owner(node_name(node), absorbed))
    for node in nodes(model):
        for value in node.outputs:
            cut.value(value, absorbed)
    for value in model.graph.inputs:
        cut.value(value, absorbed)
    alone = {
        name
        for name, form in forms.items()
        if form is NodeForm.DYNAMIC and _gain(name, costs) > worth.get(name, 0.0)
    }
    return frozenset(cut.floating() | alone)


def _gain(name: str, costs: Costs) -> float:
    """Microseconds that a node gains in float."""
    integer = costs.integer.get(name, 0.0)
    return integer - costs.floating.get(name, integer)


def owner(name: str, absorbed: Mapping[str, str]) -> str:
    """The node that does the work of another one."""
    while name in absorbed:
        name = absorbed[name]
    return name


class _Cut:
    """The network: at the source is what runs in integers."""

    def __init__(self, costs: Costs, worth: Mapping[str, float], static: set[str]) -> None:
        self._costs = costs
        self._worth = worth
        self._network = Network()
        self._vertices = {name: self._network.vertex() for name in sorted(static)}

    def node(self, node: ir.Node, owner: str) -> None:
        """What a node takes on either side."""
        vertex, name = self._vertices.get(owner), node_name(node)
        if vertex is None:
            return
        floating = self._costs.floating.get(name, 0.0) + self._worth.get(name, 0.0)
        integer = self._costs.integer.get(name, 0.0)
        self._network.edge(Network.SOURCE, vertex, _whole(floating))
        self._network.edge(vertex, Network.SINK, _whole(integer))

    def value(self, value: ir.Value, absorbed: Mapping[str, str]) -> None:
        """What it takes to pass a value to the other side."""
        producer = value.producer()
        if value.const_value is not None or (producer is None and not value.uses()):
            return
        made = self._side("" if producer is None else owner(node_name(producer), absorbed))
        readers = [self._side(owner(node_name(u.node), absorbed)) for u in value.uses()]
        readers += [Network.SINK] * value.is_graph_output()
        if all(reader == made for reader in readers):
            return
        size = self._costs.elements.get(name_of(value), 1)
        back, there = self._costs.dequantize.of(size), self._costs.quantize.of(size)
        for reader in readers if made != Network.SINK else ():
            # onnxruntime gives every reader a DequantizeLinear of its own.
            self._network.edge(made, reader, _whole(back))
        shared = self._network.vertex()
        self._network.edge(shared, made, _whole(there))
        for reader in readers:
            if reader not in (Network.SINK, made):
                self._network.edge(reader, shared, INFINITE)

    def floating(self) -> set[str]:
        """The static nodes on the float side."""
        sides = self._network.cut()
        return {name for name, vertex in self._vertices.items() if not sides[vertex]}

    def _side(self, owner: str) -> int:
        return self._vertices.get(owner, Network.SINK)


def _whole(microseconds: float) -> int:
    return max(0, round(microseconds * _NANOSECONDS))
