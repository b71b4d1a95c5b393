"""What of a graph runs as one: Q/DQ pairs with their layers, activation functions with theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgeq.graph import constants, macs
from edgeq.graph.walk import is_op

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from edgeq.targets import TargetProfile

_FUSED: Final = ("Relu", "Clip")
"""Activation functions that runtimes compute with the layer before them."""


@dataclass(slots=True)
class Fusion:
    """What runs as one.

    Attributes:
        integer: Nodes between Q/DQ pairs that run in integers.
        taken: QuantizeLinear, Relu and Clip nodes that run with the node before them.
    """

    integer: set[ir.Node] = field(default_factory=set)
    taken: set[ir.Node] = field(default_factory=set)

    def lands(self, value: ir.Value) -> ir.Value:
        """What is written in place of ``value``: what comes out behind all that is taken along."""
        while (reader := _only_reader(value)) is not None and reader in self.taken:
            value = reader.outputs[0]
        return value

    def reads(self, node: ir.Node, value: ir.Value) -> ir.Value:
        """What ``node`` really reads for ``value``: the integers, where it computes in them."""
        producer = value.producer()
        if producer is not None and is_op(producer, "DequantizeLinear"):
            source = producer.inputs[0]
            if source is not None and (node in self.integer or constants.is_constant(source)):
                return source
        return value

    def vanishes(self, node: ir.Node) -> bool:
        """Whether a DequantizeLinear is nothing but part of its readers."""
        made = node.outputs[0]
        if constants.is_constant(node.inputs[0]):
            return True
        return not made.is_graph_output() and all(n in self.integer for n in made.consumers())


def fuse(nodes: Iterable[ir.Node], target: TargetProfile) -> Fusion:
    """Find what runs as one on a target.

    A node runs in integers where the target has a kernel for it, everything it computes with comes
    out of DequantizeLinear nodes, and what it makes goes into QuantizeLinear nodes, unless its
    kernel writes floats as well.

    Args:
        nodes: All nodes.
        target: Which operators it has in integers.
    """
    found = Fusion()
    for node in nodes:
        functions = _functions(node)
        found.taken |= functions
        made = [output for output in node.outputs if output.uses() or output.is_graph_output()]
        pairs = [_rounding(found.lands(output)) for output in made]
        row = target.kernel(node.op_type)
        if row is None or not _reads_integers(node):
            continue
        if all(pair is not None for pair in pairs):
            found.integer.add(node)
            found.taken |= {pair for pair in pairs if pair is not None}
        elif not row.needs_quantized_output:
            found.integer.add(node)
    return found


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    (use,) = uses
    return use.node


def _functions(node: ir.Node) -> set[ir.Node]:
    """The activation functions right behind a layer that only they read."""
    found: set[ir.Node] = set()
    reader = _only_reader(node.outputs[0]) if macs.is_compute(node) else None
    while reader is not None and is_op(reader, *_FUSED):
        found.add(reader)
        reader = _only_reader(reader.outputs[0])
    return found


def _rounding(value: ir.Value) -> ir.Node | None:
    """The QuantizeLinear that alone reads a value."""
    reader = _only_reader(value)
    return reader if reader is not None and is_op(reader, "QuantizeLinear") else None


def _reads_integers(node: ir.Node) -> bool:
    """Whether all float numbers that a node computes with come out of DequantizeLinear nodes."""
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return False
    dequantized = [_is_dequantized(value) for value in node.inputs]
    layer = macs.compute_op(node)
    if layer is not None and not dequantized[layer.weight]:
        return False
    plain = [v for v, known in zip(node.inputs, dequantized, strict=True) if not known]
    return any(dequantized) and not any(_is_float(value) for value in plain)


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and is_op(producer, "DequantizeLinear")


def _is_float(value: ir.Value | None) -> bool:
    """Whether a value is computed in float; biases and bounds in float hinder nobody."""
    if value is None or constants.is_constant(value):
        return False
    return value.dtype is None or value.dtype.is_floating_point()
