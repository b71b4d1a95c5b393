"""A second version of a model inside the first one, so that both run on the same inner values.

:func:`add_whole` puts the guest beside the host: both compute everything from the same inputs. Its
values carry the errors of all that came before. :func:`add_segments` cuts the guest wherever it
computes a value that the host has, too, and lets everything behind the cut read the host's value:
each segment carries its own error alone.

Values correspond by name; a value that the guest quantizes corresponds as what its readers see, the
output of DequantizeLinear. Nodes that hold bodies correspond by name: the guest's bodies are put
into the host's, where both versions see the same values of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeq.graph import rewire
from edgeq.graph.rewire import Names
from edgeq.graph.walk import is_op, name_of, nodes, subgraphs, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CONTROL: Final = ("If", "Loop", "Scan")
_ROUNDING: Final = ("Quantize", "Quantized", "Integer", "QLinear", "NBits", "QGemm", "QAttention")
"""What names of operators contain that round or compute on rounded numbers: those of ONNX and of
onnxruntime (onnxruntime/docs/ContribOperators.md)."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A value of the host and what stands for it in the guest.

    Attributes:
        reference: The host's value.
        made: What the guest computes.
        read: What the guest's readers see: ``made`` behind Q/DQ, or ``made`` itself.
        rounds: Whether anything between here and the host's values before it is quantized. Where
            the guest stands whole beside the host, between here and the guest's counterparts.
        node: Name that the node which makes it has in the guest's model.
    """

    reference: ir.Value
    made: ir.Value
    read: ir.Value
    rounds: bool
    node: str


def add_whole(host: ir.Model, guest: ir.Model) -> dict[str, Counterpart]:
    """Put a guest beside a host.

    Args:
        host: Changed in place; the order of its nodes is not topological until
            :func:`settle` is called.
        guest: A model of the same inputs and opset; left as it is. Bodies of loops stay its own.

    Returns:
        By the name of the host's value, for all float values that both compute.
    """
    move = _Move(host, guest, "whole")
    move.run(cut=False)
    return move.counterparts()


def add_segments(host: ir.Model, guest: ir.Model) -> dict[str, Counterpart]:
    """Put the pieces of a guest beside a host, each reading the host's values.

    Args:
        host: Changed in place, as in :func:`add_whole`.
        guest: As there.

    Returns:
        As there, but for values between which and the host's values before them nothing rounds:
        those are equal.
    """
    move = _Move(host, guest, "alone")
    move.run(cut=True)
    pieces = {name: _cut(pair, move.names) for name, pair in move.counterparts().items()}
    return {name: piece for name, piece in pieces.items() if piece.rounds}


def settle(host: ir.Model) -> None:
    """Order the nodes, and take out what nobody reads."""
    RemoveUnusedNodesPass()(host)
    host.graph.sort()


class _Move:
    """Moves the nodes of a copy of the guest into the host."""

    def __init__(self, host: ir.Model, guest: ir.Model, suffix: str) -> None:
        self.names = Names(host)
        self._host, self._guest = host, guest.clone()
        self._suffix = suffix
        self._theirs = {
            name: value for name, value in values(host).items() if value.producer() is not None
        }
        self._holders = {n.name: n for n in nodes(host) if is_op(n, *_CONTROL)}
        self._tensors = {
            id(v.const_value): v for v in host.graph.initializers.values() if not v.is_graph_input()
        }
        self._own = values(self._guest)
        self._nodes = {n: n.name or "" for n in nodes(self._guest)}
        self._instead: dict[ir.Value, ir.Value] = {}
        self._handed_out: set[ir.Value] = set()

    def run(self, *, cut: bool) -> None:
        """Move everything."""
        for domain, version in self._guest.opset_imports.items():
            self._host.graph.opset_imports.setdefault(domain, version)
        self._rename()
        inputs = {value.name: value for value in self._host.graph.inputs}
        original = {id(v): name for name, v in self._own.items()}
        for value in self._guest.graph.inputs:
            fed = inputs.get(original[id(value)])
            if fed is not None:
                self._replace(value, fed)
        self._adopt(self._host.graph, self._guest.graph, cut)

    def counterparts(self) -> dict[str, Counterpart]:
        """What stands for the host's values, where it stands in the same graph."""
        known = set(self._theirs.values())
        found = {}
        for name, reference in self._theirs.items():
            if reference.dtype != ir.DataType.FLOAT or name not in self._own:
                continue
            value = self._instead.get(self._own[name], self._own[name])
            made = _made(value)
            read = value if value in self._handed_out else _seen(value)
            node = made.producer()
            home = reference.producer()
            if node is None or home is None or made in known or node.graph is not home.graph:
                continue
            label = self._nodes.get(node, "")
            found[name] = Counterpart(reference, made, read, False, label)
        stops = known | {pair.made for pair in found.values()}
        return {
            name: Counterpart(p.reference, p.made, p.read, _rounds(p.made, stops), p.node)
            for name, p in found.items()
        }

    def _rename(self) -> None:
        for name, value in self._own.items():
            if not value.is_initializer():
                value.name = self.names.value(f"{name}__{self._suffix}")
        for node, name in self._nodes.items():
            node.name = self.names.node(f"{name}__{self._suffix}")

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        rewire.redirect([(use.node, use.idx) for use in old.uses()], new)
        self._instead[old] = new

    def _adopt(self, host: ir.Graph, guest: ir.Graph, cut: bool) -> list[ir.Value]:
        """Move what is in a graph; returns what it handed out."""
        outputs = list(guest.outputs)
        guest.outputs.clear()
        self._handed_out |= set(outputs)
        for name, value in list(guest.initializers.items()):
            if not value.is_graph_input():
                self._share(host, name, value)
        for node in list(guest):
            twin = self._twin(node, cut)
            guest.remove(node)
            if twin is None:
                host.append(node)
            else:
                self._merge(twin, node, cut)
        return [self._instead.get(value, value) for value in outputs]

    def _share(self, host: ir.Graph, name: str, value: ir.Value) -> None:
        """Let the guest's readers read a constant of the host's graph."""
        shared = self._tensors.get(id(value.const_value))
        if shared is None:
            shared = ir.Value(
                name=self.names.value(f"{name}__{self._suffix}"),
                type=value.type,
                shape=value.shape,
                const_value=value.const_value,
            )
            host.register_initializer(shared)
            if host is self._host.graph:
                self._tensors[id(value.const_value)] = shared
        self._replace(value, shared)

    def _twin(self, node: ir.Node, cut: bool) -> ir.Node | None:
        """The host's node whose bodies take in those of ``node``; None: it is moved as it is."""
        twin = self._holders.get(self._nodes[node]) if is_op(node, *_CONTROL) else None
        if twin is None or twin.op_type != node.op_type or (node.op_type != "If" and not cut):
            return None
        here, there = dict(subgraphs(twin)), dict(subgraphs(node))
        fits = here.keys() == there.keys() and len(node.outputs) <= len(twin.outputs)
        return twin if fits and all(_alike(here[name], there[name]) for name in here) else None

    def _merge(self, twin: ir.Node, node: ir.Node, cut: bool) -> None:
        here, there = dict(subgraphs(twin)), dict(subgraphs(node))
        outputs = {}
        for attribute, body in there.items():
            for old, new in zip(body.inputs, here[attribute].inputs, strict=True):
                self._replace(old, new)
            outputs[attribute] = self._adopt(here[attribute], body, cut)
        if cut:
            # Nothing but what its bodies compute is wrong with what such a node hands out.
            for old, new in zip(node.outputs, twin.outputs, strict=False):
                self._replace(old, new)
            return
        start = len(twin.outputs)
        for attribute, values_out in outputs.items():
            here[attribute].outputs.extend(values_out)
        twin.resize_outputs(start + len(node.outputs))
        for old, new in zip(node.outputs, twin.outputs[start:], strict=True):
            new.name, new.type, new.shape = self.names.value(name_of(old)), old.type, old.shape
            self._replace(old, new)


def _alike(one: ir.Graph, other: ir.Graph) -> bool:
    return len(one.inputs) == len(other.inputs)


def _made(value: ir.Value) -> ir.Value:
    """What was computed before Q/DQ, where the name went to the dequantized side."""
    node = value.producer()
    if node is None or not is_op(node, "DequantizeLinear") or node.inputs[0] is None:
        return value
    quantize = node.inputs[0].producer()
    if quantize is None or not is_op(quantize, "QuantizeLinear") or quantize.inputs[0] is None:
        return value
    return quantize.inputs[0]


def _seen(value: ir.Value) -> ir.Value:
    """What all readers of a value see: its dequantized side, where it has one."""
    if _made(value) is not value:
        return value
    readers = {use.node for use in value.uses()}
    if len(readers) != 1:
        return value
    quantize = readers.pop()
    if not is_op(quantize, "QuantizeLinear") or quantize.inputs[0] is not value:
        return value
    back = [u.node for u in quantize.outputs[0].uses() if is_op(u.node, "DequantizeLinear")]
    local = [node for node in back if node.graph is quantize.graph]
    return local[0].outputs[0] if local else value


def _rounds(value: ir.Value, stops: set[ir.Value]) -> bool:
    """Whether a quantizing operator lies between a value and those before it where one stops."""
    waiting, seen = [value.producer()], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if any(part in node.op_type for part in _ROUNDING):
            return True
        waiting += [source.producer() for source in _sources(node) if source not in stops]
    return False


def _sources(node: ir.Node) -> Iterator[ir.Value]:
    yield from (value for value in node.inputs if value is not None)
    for _, body in subgraphs(node):
        for inner in ir.traversal.RecursiveGraphIterator(body):
            yield from (value for value in inner.inputs if value is not None)


def _cut(pair: Counterpart, names: Names) -> Counterpart:
    """Let everything behind a value read the host's; Q/DQ of its own goes with the value."""
    conversions = _conversions(pair) if pair.rounds else ()
    uses = [(use.node, use.idx) for use in pair.made.uses()]
    read = _repeat(conversions, pair.made, names)
    rewire.redirect(uses, pair.reference)
    return Counterpart(pair.reference, pair.made, read, pair.rounds, pair.node)


def _conversions(pair: Counterpart) -> tuple[ir.Node, ...]:
    """QuantizeLinear and DequantizeLinear between what is made and what is read."""
    dequantize = pair.read.producer() if pair.read is not pair.made else None
    source = None if dequantize is None else dequantize.inputs[0]
    quantize = None if source is None else source.producer()
    return () if dequantize is None or quantize is None else (quantize, dequantize)


def _repeat(conversions: Sequence[ir.Node], value: ir.Value, names: Names) -> ir.Value:
    """Conversions of its own for a value; those that are there go to the host's."""
    home = value.producer()
    for node in conversions:
        copy = ir.Node("", node.op_type, [value, *node.inputs[1:]], list(node.attributes.values()))
        copy.name = names.node(f"{node.name}_own")
        value = copy.outputs[0]
        value.name = names.value(f"{node.outputs[0].name}_own")
        value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
        if home is not None and isinstance(home.graph, ir.Graph):
            home.graph.append(copy)
    return value
