"""Finds the first node whose output differs on a device, by bisection over a model's values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.graph.expose import can_expose
from edgeq.graph.walk import bodies, is_op, name_of, node_name, subgraphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.device.result import OutputResult, Worst

    Probe = Callable[[Sequence[str]], Mapping[str, OutputResult]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a device parts from this machine.

    Attributes:
        value: The first value that is not what it is here.
        nodes: Name and operator of the nodes between it and the values before that are equal. A
            runtime may run them as one kernel; the first is the one to look at.
        equal: The values before it, which are what they are here.
        worst: Where the value differs most.
        runs: How often the device ran to find it.
    """

    value: str
    nodes: tuple[tuple[str, str], ...]
    equal: tuple[str, ...]
    worst: Worst | None
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        worst = self.worst
        return {
            "value": self.value,
            "nodes": [{"name": name, "op_type": op} for name, op in self.nodes],
            "equal": list(self.equal),
            "worst": None
            if worst is None
            else {
                "difference": worst.difference,
                "index": list(worst.index),
                "expected": worst.expected,
                "got": worst.got,
            },
            "runs": self.runs,
        }

    def __str__(self) -> str:
        name, op_type = self.nodes[0]
        rest = [op for _, op in self.nodes[1:]]
        behind = f", with the {', '.join(rest)} behind it," if rest else ""
        return (
            f"{op_type} {name!r}{behind} is the first whose output differs ({self.value!r}); what "
            "it reads is equal"
        )


def visible_values(model: ir.Model) -> list[str]:
    """Values that can be looked at without pulling integer kernels apart, in order of execution.

    Left out are what a quantizer alone reads (its output is the kernel's), what a dequantizer
    writes (its input tells as much), and what does not depend on the inputs.
    """
    owners = bodies(model)
    moving = {id(value) for value in model.graph.inputs if not value.is_initializer()}
    found = []
    for node in model.graph:
        if not any(id(value) in moving for value in _reads(node)):
            continue
        for value in node.outputs:
            moving.add(id(value))
            if value.name and _telling(node, value) and can_expose(value, owners):
                found.append(value.name)
    return found


def first_difference(model: ir.Model, probe: Probe) -> Difference | None:
    """Search for the first value that differs.

    Args:
        model: The model whose outputs differ.
        probe: Runs the model on the device with the named values as its outputs, and tells what
            became of each.

    Returns:
        The difference; None where every value is right once it is looked at.
    """
    order = visible_values(model)
    counted = _Counted(probe)
    start = _bisected(order, counted)
    if start is None:
        return None
    place = {name: index for index, name in enumerate(order)}
    producers = {name_of(v): node for node in model.graph for v in node.outputs if v.name}
    found, before = _followed_up(start, place, producers, counted)
    nodes = tuple((node_name(node), node.op_type) for node in _between(producers[found], place))
    return Difference(found, nodes, tuple(before), counted.worst[found], counted.runs)


def _bisected(order: list[str], counted: _Counted) -> str | None:
    """A value that differs behind one that does not; None where the last one does not differ."""
    low, high = -1, len(order) - 1
    if high < 0 or counted.right([order[high]]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if counted.right([order[middle]]):
            low = middle
        else:
            high = middle
    return order[high]


def _followed_up(
    found: str,
    place: Mapping[str, int],
    producers: Mapping[str, ir.Node],
    counted: _Counted,
) -> tuple[str, list[str]]:
    """The value up from ``found`` that differs while all before it are equal, and those.

    The order is one of several: what differs may come from another branch further up.
    """
    while True:
        before = sorted(_before(producers[found], place, found), key=place.__getitem__)
        wrong = counted.wrong(before)
        if not wrong:
            return found, before
        found = wrong[0]


class _Counted:
    """Asks a device, and remembers what it said."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._known: dict[str, bool] = {}
        self.worst: dict[str, Worst | None] = {}
        self.runs = 0

    def right(self, names: list[str]) -> bool:
        return not self.wrong(names)

    def wrong(self, names: list[str]) -> list[str]:
        """Those of ``names`` that differ."""
        asked = [name for name in names if name not in self._known]
        if asked:
            self.runs += 1
            for name, result in self._probe(asked).items():
                self._known[name] = result.passed
                self.worst[name] = result.worst
        return [name for name in names if not self._known.get(name, True)]


def _telling(node: ir.Node, value: ir.Value) -> bool:
    if is_op(node, "DequantizeLinear", "Constant"):
        return False
    readers = [user for user, _ in value.uses()]
    return value.is_graph_output() or not (
        readers and all(is_op(reader, "QuantizeLinear") for reader in readers)
    )


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its bodies included."""
    yield from (value for value in node.inputs if value is not None)
    for _, graph in subgraphs(node):
        for inner in graph:
            yield from _reads(inner)


def _before(node: ir.Node, place: Mapping[str, int], but: str) -> set[str]:
    """The nearest values before a node that can be looked at."""
    found: set[str] = set()
    for each in _group(node, place):
        found |= {value.name for value in _reads(each) if value.name and value.name in place}
    return found - {but}


def _between(node: ir.Node, place: Mapping[str, int]) -> list[ir.Node]:
    """The nodes that lead from those values to the node's output, in order of execution."""
    return [
        each
        for each in reversed(_group(node, place))
        if not is_op(each, "DequantizeLinear", "Constant") and _depends(each)
    ] or [node]


def _group(node: ir.Node, place: Mapping[str, int]) -> list[ir.Node]:
    """The node and all before it up to values that can be looked at, the last one first."""
    found, waiting = [node], [node]
    while waiting:
        for value in _reads(waiting.pop()):
            producer = value.producer()
            if producer is not None and value.name not in place and producer not in found:
                found.append(producer)
                waiting.append(producer)
    return found


def _depends(node: ir.Node) -> bool:
    """Whether a node reads more than constants."""
    return any(not value.is_initializer() for value in _reads(node))
