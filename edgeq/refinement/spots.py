"""Where a Mul by a constant per channel would make room for a factor that has no place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import rewire
from edgeq.graph.walk import is_op, name_of, node_name, values
from edgeq.passes import edits
from edgeq.passes.pattern import sole_reader
from edgeq.quantization.plan import NodeForm
from edgeq.refinement.find_ties import find_ties
from edgeq.refinement.relevance import GATES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.ties import Ties


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for a Mul.

    Attributes:
        value: The value that is multiplied.
        readers: What reads the product: nodes and their input numbers.
        axis: Axis of the channels, negative.
        size: How many channels.
    """

    value: str
    readers: tuple[tuple[str, int], ...]
    axis: int
    size: int


def find_spots(
    prepared: ir.Model,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    wanted: Callable[[ir.Node], bool],
) -> list[Spot]:
    """All places where one may help, among float operators only.

    Args:
        prepared: Not changed.
        annotations: What is quantized.
        channels: What was observed.
        wanted: Whether the factors in front of a layer may be chosen.
    """
    gates = _before_gates(find_ties(prepared), annotations)
    trial = prepared.clone()
    insert_muls(trial, gates)
    return [*gates, *_before_layers(find_ties(trial), annotations, channels, wanted)]


def insert_muls(model: ir.Model, spots: Sequence[Spot]) -> dict[Spot, ir.Node]:
    """Put in a Mul by ones at each spot.

    Args:
        model: Changed in place.
        spots: Of this model, or of one that it is a copy of.
    """
    names, known = rewire.Names(model), values(model)
    order = {node_name(node): index for index, node in enumerate(model.graph)}
    by_name = {node_name(node): node for node in model.graph}
    made = {}
    for spot in spots:
        value, base = known[spot.value], f"{spot.value}__scaled"
        first = by_name[min((name for name, _ in spot.readers), key=order.__getitem__)]
        ones = np.ones((spot.size,) + (1,) * (-spot.axis - 1), np.float32)
        constant = edits.constant(first, ones, names, f"{spot.value}__factors")
        product = edits.add_node(first, "Mul", [value, constant], names, base, like=value)
        rewire.redirect([(by_name[name], index) for name, index in spot.readers], product)
        node = product.producer()
        if node is not None:
            made[spot] = node
    return made


def _before_gates(ties: Ties, annotations: Annotations) -> list[Spot]:
    """With a Mul in front of its gate, x and x * sigmoid(x) take one factor."""
    found = []
    for refusal in ties.refusals:
        gate, value = refusal.node, refusal.value
        place = ties.place(value)
        if not is_op(gate, *GATES) or place is None or len(place.axes) != 1:
            continue
        product = sole_reader(gate.outputs[0])
        own = product is not None and is_op(product.node, "Mul") and value in product.node.inputs
        producer = value.producer()
        near = producer is not None and producer.graph is gate.graph
        if own and near and _is_float(gate, annotations):
            reader = (node_name(gate), refusal.index)
            found.append(Spot(name_of(value), (reader,), place.axes[0], place.slots.size))
    return found


def _before_layers(
    ties: Ties,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    wanted: Callable[[ir.Node], bool],
) -> list[Spot]:
    """Layers whose input cannot be scaled: one Mul for all that read the same value."""
    frozen = ties.factors.frozen()
    readers: dict[str, list[tuple[str, int]]] = {}
    spots: dict[str, Spot] = {}
    for tie in ties.layers:
        layer, data = tie.layer, tie.layer.node.inputs[0]
        producer = None if data is None else data.producer()
        stuck = tie.inner is None or bool(frozen[tie.inner].all())
        if data is None or producer is None or not stuck or not wanted(layer.node):
            continue
        seen = channels.get(name_of(data))
        known = seen is not None and seen.minimum.size == layer.in_channels
        turned = layer.node.attributes.get_int("transA", 0) != 0
        if known and not turned and _is_float(producer, annotations):
            name = name_of(data)
            readers.setdefault(name, []).append((node_name(layer.node), 0))
            spots[name] = Spot(name, tuple(readers[name]), layer.axis, layer.in_channels)
    return list(spots.values())


def _is_float(node: ir.Node, annotations: Annotations) -> bool:
    """Whether the node works in float: another float operator beside it costs no conversion."""
    decision = annotations.decisions.get(node_name(node))
    return decision is None or decision.form in (NodeForm.FLOAT, NodeForm.DYNAMIC)
