"""The noise that factors decide on, and the factors that make it least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants
from edgeq.graph.walk import node_name
from edgeq.passes import edits
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.regions import clip_bounds
from edgeq.refinement.balance import Noise, ValueNoise, WeightNoise, balance
from edgeq.refinement.relevance import Relevance
from edgeq.types import EdgeRef, QuantSpec, ValueRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.passes.layer import Layer
    from edgeq.quantization.annotate import Annotations
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.ties import Place, Ties
    from edgeq.types import FloatArray, IntArray

CLIP_MARGIN = 1.5
"""A bound that far above all that was seen counts as one that nothing reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Factors, and what they promise.

    Attributes:
        scale: The factor behind each slot, float64 [slots].
        problem: Slot -> number of the problem it was part of; -1 for none.
        gains: Problem -> relative noise before and after.
        open_clips: Clip nodes that nothing comes near to.
    """

    scale: FloatArray
    problem: IntArray
    gains: Mapping[int, tuple[float, float]]
    open_clips: tuple[ir.Node, ...]

    def gain(self, place: Place) -> tuple[float, float]:
        """Noise before and after in the problem that a place is part of; equal where none is."""
        numbers = {int(n) for n in np.unique(self.problem[place.slots])} & set(self.gains)
        return self.gains[min(numbers)] if numbers else (0.0, 0.0)


class Problem:
    """All that factors have to do with in one model.

    Args:
        ties: What is tied.
        annotations: What is quantized; names of values that were put in need not be known.
        channels: What was observed.
        wanted: Whether the factors in front of a layer may be chosen.
        aliases: Name of a value that was put in -> the value whose numbers it has.
    """

    def __init__(
        self,
        ties: Ties,
        annotations: Annotations,
        channels: Mapping[str, Channels],
        wanted: Callable[[ir.Node], bool],
        aliases: Mapping[str, str],
    ) -> None:
        self._ties = ties
        self._annotations = annotations
        self._channels = channels
        self._wanted = wanted
        self._aliases = aliases
        self._roots = ties.factors.roots()
        self._held = ties.factors.frozen()
        self._read = np.zeros(self._roots.size, bool)
        self._relevance = Relevance(ties, self._roots, self._seen)

    def solve(self) -> Solution:
        """Choose all factors, one independent problem after the other."""
        clips = [node for node, place in self._ties.clips if self._is_open(node, place)]
        if self._ties.layers:
            self._relevance.collect(edits.graph_of(self._ties.layers[0].layer.node))
        noises: list[Noise] = [*self._weight_noises(), *self._value_noises()]
        held = self._held | ~self._read
        theta = np.zeros(self._roots.size)
        groups = _groups(noises, self._roots.size)
        gains: dict[int, tuple[float, float]] = {}
        for number in np.unique(groups[groups >= 0]).tolist():
            members = np.flatnonzero(groups == number)
            if held[members].all():
                continue
            local = np.full(self._roots.size, -1)
            local[members] = np.arange(members.size)
            own = [n for n in noises if groups[n.index.flat[0]] == number]
            found = balance(
                [replace(n, index=local[n.index]) for n in own],
                held[members],
            )
            theta[members] = found.theta
            gains[number] = (found.before, found.after)
        return Solution(np.exp(theta)[self._roots], groups[self._roots], gains, tuple(clips))

    def _seen(self, value: ir.Value | None, size: int) -> Channels | None:
        if value is None or not value.name:
            return None
        found = self._channels.get(self._aliases.get(value.name, value.name))
        return found if found is not None and found.minimum.size == size else None

    def _hold(self, slots: IntArray) -> None:
        self._held[self._roots[slots]] = True

    def _is_open(self, node: ir.Node, place: Place) -> bool:
        """Whether a Clip at 0 does nothing else; one that does keeps its channels as they are.

        Its bound is one for all channels, so that only equal factors would keep what it does.
        Letting just the channels grow that stay far below the bound cuts them where other samples
        go further: on efficientnet_lite0, with maxima over 32 samples and thrice that allowed, the
        float model itself was off by 22 dB on others.
        """
        bounds, size = clip_bounds(node), place.slots.size
        seen = self._seen(node.outputs[0], size)
        at_zero = bounds is not None and bounds[0] == 0 < bounds[1]
        if seen is not None and bounds is not None and at_zero:
            nearest = float(seen.maximum.max())
            if nearest * CLIP_MARGIN <= bounds[1]:
                return True
        self._hold(place.slots)
        return False

    def _weight_noises(self) -> list[WeightNoise]:
        found = []
        for tie in self._ties.layers:
            layer = tie.layer
            if tie.inner is None:
                continue
            seen = self._seen(layer.node.inputs[0], layer.in_channels)
            if seen is None:
                self._hold(tie.inner)
                continue
            magnitude = _magnitudes(layer)
            groups, _, inputs = magnitude.shape
            index = self._roots[tie.inner].reshape(groups, inputs)
            self._read[index] |= self._wanted(layer.node)
            # With one input a group, the steps of a weight grow and shrink with the factor.
            if EdgeRef(node_name(layer.node), 1) in self._annotations.specs and inputs > 1:
                power = seen.power.reshape(groups, inputs) * layer.view[3]
                weight = self._relevance.at_output(tie)
                found.append(WeightNoise(index, magnitude, power, weight))
        return found

    def _value_noises(self) -> list[ValueNoise]:
        found = []
        for value, place in self._ties.places.items():
            if not self._is_rounded(value):
                continue
            index = self._roots[place.slots].ravel()
            seen = self._seen(value, index.size)
            if seen is None:
                self._hold(place.slots)
                continue
            # Nobody knows how far a channel reaches that was always 0.
            self._hold(place.slots.ravel()[seen.power == 0])
            low, high = np.maximum(-seen.minimum, 0.0), np.maximum(seen.maximum, 0.0)
            found.append(ValueNoise(index, low, high, self._relevance.of(value, place)))
        return found

    def _is_rounded(self, value: ir.Value) -> bool:
        """Whether the value gets steps of its own: found by calibration, or while running."""
        forms = {self._form(reader) for reader in value.consumers()}
        if any(self._form(use.node) is NodeForm.DYNAMIC and use.idx == 0 for use in value.uses()):
            return True
        name = value.name or ""
        spec = self._annotations.specs.get(ValueRef(self._aliases.get(name, name)))
        made = self._form(value.producer())
        static = NodeForm.STATIC in forms or made in (NodeForm.STATIC, NodeForm.ABSORBED)
        return isinstance(spec, QuantSpec) and static

    def _form(self, node: ir.Node | None) -> NodeForm | None:
        decision = None if node is None else self._annotations.decisions.get(node.name or "")
        return None if decision is None else decision.form


def _magnitudes(layer: Layer) -> FloatArray:
    """Largest magnitude of the weights between two channels, [groups, outputs, inputs]."""
    weight = constants.array(layer.node.inputs[1])
    if weight is None:
        raise ValueError(f"{layer.node!r} has no constant weight")
    largest = np.abs(weight.reshape(layer.view).astype(np.float64)).max(axis=3)
    return np.asarray(largest if layer.out_dim == 1 else largest.transpose(0, 2, 1))


def _groups(noises: Sequence[Noise], count: int) -> IntArray:
    """Which factors are decided on together, int64 [factors]; -1 for those that nothing needs."""
    parents = list(range(count))

    def root(one: int) -> int:
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    used: set[int] = set()
    for noise in noises:
        unique = np.unique(noise.index).tolist()
        used.update(unique)
        for other in unique[1:]:
            parents[root(other)] = root(unique[0])
    return np.array([root(i) if i in used else -1 for i in range(count)], np.int64)
