"""What each node takes in float and in integers, and what passing between them takes: measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import macs
from edgeq.graph.walk import name_of, node_name, nodes, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.runtime.profile import NodeTime

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_LAYOUT = ("Transpose", "ReorderInput", "ReorderOutput")
"""What onnxruntime puts between layouts of its own (onnxruntime/core/optimizer/nchwc_transformer.cc
and layout_transformation): integer kernels want channels last, float ones in blocks."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Time of a conversion by the size of what is converted.

    Attributes:
        once_us: Microseconds of any conversion.
        element_us: Microseconds of each element beside that.
    """

    once_us: float
    element_us: float

    def of(self, elements: int) -> float:
        """Microseconds of converting a value."""
        return self.once_us + self.element_us * elements


USUAL = Rate(2.0, 2.5e-4)
"""A conversion where none was measured: between those of an x86 server and of a gateway's board."""


@dataclass(frozen=True, slots=True)
class Conversions:
    """What was seen of conversions.

    Attributes:
        quantize: Elements and microseconds of each QuantizeLinear that ran as such.
        dequantize: Of each DequantizeLinear.
        layouts: Microseconds of each change of layout.
    """

    quantize: tuple[tuple[int, float], ...] = ()
    dequantize: tuple[tuple[int, float], ...] = ()
    layouts: tuple[float, ...] = ()

    def __add__(self, other: Conversions) -> Conversions:
        """What was seen in two profiles."""
        return Conversions(
            self.quantize + other.quantize,
            self.dequantize + other.dequantize,
            self.layouts + other.layouts,
        )

    def rates(self) -> tuple[Rate, Rate]:
        """Of QuantizeLinear and DequantizeLinear; changes of layout come on top of both."""
        both = (*self.quantize, *self.dequantize)
        total = sum(size for size, _ in both)
        # What the fastest one takes is taken by each, however small its value.
        least = min(self.layouts, default=0.0) * len(self.layouts)
        once = least / len(both) if both else 0.0
        each = (sum(self.layouts) - least) / total if total else 0.0
        first, second = (_fitted(pairs) for pairs in (self.quantize, self.dequantize))
        return (
            Rate(first.once_us + once, first.element_us + each),
            Rate(second.once_us + once, second.element_us + each),
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of one run, where they are known.

    Attributes:
        floating: By node, in float.
        integer: By node, in integers.
        quantize: Of a QuantizeLinear that runs as such.
        dequantize: Of a DequantizeLinear.
        elements: Size of each value.
        seen: What the times of conversions were learned from.
    """

    floating: Mapping[str, float]
    integer: Mapping[str, float]
    quantize: Rate
    dequantize: Rate
    elements: Mapping[str, int]
    seen: Conversions = field(default_factory=Conversions)


def node_times(model: ir.Model, times: Sequence[NodeTime]) -> dict[str, float]:
    """Microseconds by node of a model, from its profile.

    onnxruntime calls some fused kernels after what they write, which may lie behind the layer that
    takes the time: it is counted for that layer. Time of kernels that belong to no node is shared
    out among all in proportion.
    """
    named = {node_name(node): node for node in nodes(model)}
    known = values(model)
    found: dict[str, float] = {}
    nobodys = 0.0
    for spent in times:
        node = named.get(spent.name)
        written = known.get(spent.name)
        producer = None if written is None else written.producer()
        if node is None and producer is not None:
            node = _layer_of(producer)
        if node is None:
            nobodys += spent.microseconds
        else:
            name = node_name(node)
            found[name] = found.get(name, 0.0) + spent.microseconds
    total = sum(found.values())
    factor = 1.0 + nobodys / total if total else 1.0
    return {name: time * factor for name, time in found.items()}


def _layer_of(node: ir.Node) -> ir.Node:
    """The layer whose kernel may have absorbed a node; the node itself where there is none."""
    before = node
    while not macs.is_compute(before):
        source = before.inputs[0] if before.inputs else None
        producer = None if source is None else source.producer()
        if source is None or producer is None or len(source.uses()) != 1:
            return node
        before = producer
    return before


def measured_costs(
    model: ir.Model,
    candidate: ir.Model,
    floating: Sequence[NodeTime],
    mixed: Sequence[NodeTime],
    integer: Iterable[str],
    elements: Mapping[str, int],
    before: Costs | None = None,
) -> Costs:
    """Put two profiles together.

    Args:
        model: The float model.
        candidate: What was made of it.
        floating: Profile of the float model.
        mixed: Profile of the candidate.
        integer: Names of the nodes that are in integers there.
        elements: Size of each value of the float model.
        before: What was known already of nodes that are float in the candidate, or in integers.
    """
    names = {node_name(node) for node in nodes(model)}
    inside = set(integer)
    in_float = node_times(model, floating)
    in_float |= before.floating if before else {}
    seen = {t.name: 0.0 for t in mixed}
    for time in mixed:
        seen[time.name] += time.microseconds
    # A node that is float in the candidate, too, is there among the neighbours that count.
    in_float |= {n: t for n, t in seen.items() if n in names and n not in inside}
    in_integers = dict(before.integer) if before else {}
    in_integers |= {n: t for n, t in seen.items() if n in inside}
    conversions = _conversions(candidate, mixed, elements)
    conversions += before.seen if before else Conversions()
    return Costs(in_float, in_integers, *conversions.rates(), elements, conversions)


def _conversions(
    candidate: ir.Model, times: Sequence[NodeTime], elements: Mapping[str, int]
) -> Conversions:
    converted = _converted(candidate)
    known = [t for t in times if converted.get(t.name) in elements]
    quantize, dequantize = (
        tuple((elements[converted[t.name]], t.microseconds) for t in known if t.op_type == op_type)
        for op_type in (_QUANTIZE, _DEQUANTIZE)
    )
    layouts = tuple(t.microseconds for t in times if t.op_type in _LAYOUT)
    return Conversions(quantize, dequantize, layouts)


def _fitted(pairs: Sequence[tuple[int, float]]) -> Rate:
    """A straight line through (elements, microseconds), by least squares."""
    if not pairs:
        return USUAL
    sizes, spent = np.array(pairs, np.float64).T
    spread = float(((sizes - sizes.mean()) ** 2).sum())
    if not spread:
        once = min(USUAL.once_us, float(spent.mean()))
        return Rate(once, (float(spent.mean()) - once) / float(sizes.mean()))
    slope = float(((sizes - sizes.mean()) * (spent - spent.mean())).sum()) / spread
    slope, least = max(slope, 0.0), min(USUAL.once_us, float(spent.min()))
    return Rate(max(least, float(spent.mean()) - slope * float(sizes.mean())), slope)


def _converted(candidate: ir.Model) -> dict[str, str]:
    """Name of a conversion node -> the float value that it converts."""
    found = {}
    for node in nodes(candidate):
        source = node.inputs[0] if node.inputs else None
        if source is None or node.op_type not in (_QUANTIZE, _DEQUANTIZE):
            continue
        maker = source.producer()
        if node.op_type == _QUANTIZE:
            found[node_name(node)] = name_of(source)
        elif maker is not None and maker.op_type == _QUANTIZE and maker.inputs[0] is not None:
            found[node_name(node)] = name_of(maker.inputs[0])
    return found


def elements_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Number of elements by value."""
    return {name: max(1, math.prod(shape)) for name, shape in shapes.items()}
