"""Moves factors between neighbouring layers: what equalization and smoothing share.

:mod:`ties` says what can be scaled, :mod:`problem` by how much, :mod:`spots` where a Mul would make
room for a factor; here weights and constants take the factors up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.walk import is_op, name_of, node_name
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.affine import Affine
from edgeq.refinement.find_ties import find_ties
from edgeq.refinement.problem import Problem, Solution
from edgeq.refinement.rewritten import Rewritten
from edgeq.refinement.spots import Spot, find_spots, insert_muls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.quantization.annotate import Annotations
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.ties import ConstantTie, LayerTie, Ties
    from edgeq.types import FloatArray

_NOTICEABLE = 1e-6
_AUDIBLE = 1e-4
"""Relative noise below which no Mul is worth its time: 40 dB."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms factors may move.

    Attributes:
        wanted: Whether the factors in front of this layer may be chosen; others stay 1.
        least_gain: How many times less noise a Mul that is put in has to promise; inf for none.
    """

    wanted: Callable[[ir.Node], bool]
    least_gain: float = math.inf


def channel_axes(prepared: ir.Model) -> dict[str, int]:
    """The values whose channels count, each with its channel axis: what to observe.

    Args:
        prepared: Not changed.
    """
    ties = find_ties(prepared)
    found = {name_of(v): p.axes[0] for v, p in ties.places.items() if len(p.axes) == 1}
    for tie in ties.layers:
        data = tie.layer.node.inputs[0]
        if data is not None and data.producer() is not None:
            found.setdefault(name_of(data), tie.layer.axis)
    return found


def rescale(
    prepared: ir.Model,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    terms: Terms,
) -> Rewritten:
    """A copy of the model with the factors that promise the least noise.

    Args:
        prepared: Not changed.
        annotations: What is quantized.
        channels: What was observed of the values that :func:`channel_axes` lists.
        terms: On which terms.
    """
    spots: list[Spot] = []
    if math.isfinite(terms.least_gain):
        spots = find_spots(prepared, annotations, channels, terms.wanted)
    scaled = _solved(prepared, annotations, channels, terms, spots)
    paying = [spot for spot in spots if scaled.pays(spot, terms.least_gain)]
    if len(paying) < len(spots):
        scaled = _solved(prepared, annotations, channels, terms, paying)
    return scaled.apply() or Rewritten(
        prepared.clone(), frozenset(), 0, ("Factors would overflow float32 and were left out",)
    )


def _solved(
    prepared: ir.Model,
    annotations: Annotations,
    channels: Mapping[str, Channels],
    terms: Terms,
    spots: Sequence[Spot],
) -> _Scaled:
    model = prepared.clone()
    made = insert_muls(model, spots)
    ties = find_ties(model)
    aliases = {name_of(node.outputs[0]): spot.value for spot, node in made.items()}
    problem = Problem(ties, annotations, channels, terms.wanted, aliases)
    return _Scaled(model, ties, made, problem.solve())


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A copy with its Muls put in, and the factors chosen for it."""

    model: ir.Model
    ties: Ties
    made: Mapping[Spot, ir.Node]
    found: Solution

    def pays(self, spot: Spot, least_gain: float) -> bool:
        """Whether a Mul that was put in promises enough."""
        node = self.made[spot]
        both = [self.ties.place(v) for v in (node.outputs[0], node.inputs[0])]
        gains = [self.found.gain(place) for place in both if place is not None]
        return any(
            before > _AUDIBLE and before > least_gain * after and before > 0
            for before, after in gains
        )

    def apply(self) -> Rewritten | None:
        """Let weights and constants take the factors up; None when one overflows."""
        scale, names = self.found.scale, rewire.Names(self.model)
        for tie in self.ties.layers:
            if not write_layer(tie, scale, names):
                return None
        for constant in self.ties.constants:
            write_constant(constant, scale, names)
        changed = {
            name_of(value)
            for value, place in self.ties.places.items()
            if np.any(np.abs(np.log(scale[place.slots])) > _NOTICEABLE)
        }
        factors = {
            name_of(value): 1 / scale[place.slots].astype(np.float64)
            for value, place in self.ties.places.items()
            if len(place.axes) == 1
        }
        new = {name_of(node.outputs[0]) for node in self.made.values()}
        notes = self._open_clips()
        if new:
            notes.append(f"{len(new)} Mul nodes by a constant per channel were put in")
        rewire.drop_unused_initializers(self.model)
        known = {name: factors[name] for name in (changed - new) & factors.keys()}
        return Rewritten(self.model, frozenset(changed | new), len(changed), tuple(notes), known)

    def _open_clips(self) -> list[str]:
        """A Clip whose bound nothing comes near becomes a Relu where its channels are scaled."""
        names = []
        for node in self.found.open_clips:
            place = self.ties.place(node.outputs[0])
            if place is not None and np.any(self.found.scale[place.slots] != 1):
                names.append(node_name(node))
                _to_relu(node)
        if not names:
            return []
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return [f"{len(names)} Clip nodes that no sample reached the bound of became Relu: {shown}"]


def write_layer(tie: LayerTie, scale: FloatArray, names: rewire.Names) -> bool:
    """Let the weights and the bias of a layer take factors up; False when they overflow.

    Args:
        tie: The layer and the numbers of its factors.
        scale: What each value is divided by, by number of the factor.
        names: Of the model.
    """
    layer = tie.layer
    alone = np.ones(layer.in_channels)
    into = alone if tie.inner is None else scale[tie.inner].astype(np.float64)
    out = scale[tie.outer].astype(np.float64)
    if np.all(into == 1) and np.all(out == 1):
        return True
    numbers = layers.numbers(layer).before(layer, Affine(into, np.zeros(into.size)))
    return layers.write(layer, numbers.after(layer, Affine(1 / out, np.zeros(out.size))), names)


def write_constant(tie: ConstantTie, scale: FloatArray, names: rewire.Names) -> None:
    """What is added divides by what the values carry; a factor turns one into the other.

    Args:
        tie: The constant and the numbers of its factors.
        scale: What each value is divided by, by number of the factor.
        names: Of the model.
    """
    node, old = tie.node, constants.array(tie.node.inputs[tie.index])
    if old is None:
        raise ValueError(f"{node!r} reads no constant")
    factor = 1 / tie.outer.spread(scale)
    if is_op(node, "Mul", "Div") and tie.inner is not None:
        factor = factor * tie.inner.spread(scale)
    if np.all(factor == 1):
        return
    if is_op(node, "Div"):
        factor = 1 / factor
    new = (old.astype(np.float64) * factor).astype(old.dtype)
    edits.set_constant(node, tie.index, new, names, f"{node_name(node)}__factors")


def _to_relu(node: ir.Node) -> None:
    """Let a Clip at 0 be a Relu of the same names."""
    name, old = node_name(node), node.outputs[0]
    called = name_of(old)
    relu = ir.node("Relu", [node.inputs[0]])
    new = relu.outputs[0]
    new.type, new.shape = old.type, old.shape
    edits.graph_of(node).insert_before(node, relu)
    rewire.take_place(old, new)
    rewire.remove(node)
    old.name = None
    new.name, relu.name = called, name
