"""How much noise in each channel of a value matters further on.

Noise is taken for independent from number to number. At a layer it counts by the squares of the
weights, relative to the power of what the layer writes; from there it is followed back through
rectifiers, sums and products. Where a value goes into anything else, say a normalization or out of
the model, noise counts relative to the power of the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph.walk import is_op
from edgeq.passes import layer as layers

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgeq.passes.layer import Layer
    from edgeq.refinement.channels import Channels
    from edgeq.refinement.ties import LayerTie, Place, Ties
    from edgeq.types import FloatArray, IntArray

_GRID = np.linspace(-4.0, 4.0, 65)
_BELL = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()

_AVERAGED = {"AveragePool": 0.25, "GlobalAveragePool": 0.02, "ReduceMean": 0.02}
"""What is left of independent noise of many positions behind their mean, roughly."""

GATES = ("HardSigmoid", "Sigmoid")


class Relevance:
    """Relative noise further on per noise power of a channel.

    Args:
        ties: Where the channels are.
        roots: The factor that stands for each.
        seen: Finds what was observed of a value with so many channels.
    """

    def __init__(
        self, ties: Ties, roots: IntArray, seen: Callable[[ir.Value | None, int], Channels | None]
    ) -> None:
        self._ties = ties
        self._roots = roots
        self._seen = seen
        self._found: dict[ir.Value, FloatArray] = {}

    def of(self, value: ir.Value, place: Place) -> FloatArray:
        """One number a channel, float64 [channels]."""
        return self._found.get(value, np.zeros(place.slots.size))

    def collect(self, graph: ir.Graph) -> None:
        """Walk back through a graph."""
        tied = {tie.layer.node: tie for tie in self._ties.layers}
        for value in graph.outputs:
            self._end(value)
        for refusal in self._ties.refusals:
            if not _is_own_gate(refusal.value, refusal.node):
                self._end(refusal.value)
        for node in reversed(list(graph)):
            if node in tied:
                self._layer(tied[node])
                continue
            for output in node.outputs:
                place = self._ties.place(output)
                if place is not None and output in self._found:
                    self._back(node, output, place)

    def _end(self, value: ir.Value) -> None:
        """Beyond here noise counts relative to the whole value."""
        place = self._ties.place(value)
        if place is None:
            return
        seen = self._seen(value, place.slots.size)
        total = 0.0 if seen is None else float(seen.power.sum())
        if total > 0:
            self._add(value, np.full(place.slots.size, 1 / total))

    def at_output(self, tie: LayerTie) -> float:
        """What noise power of a layer's output counts: 1 / its power, were its inputs unrelated."""
        layer = tie.layer
        seen = self._seen(layer.node.inputs[0], layer.in_channels)
        if seen is None:
            return 0.0
        carried = float(_squares(layer) @ seen.power)
        return 1 / carried if carried > 0 else 0.0

    def _layer(self, tie: LayerTie) -> None:
        if tie.inner is not None:
            self._add(tie.layer.node.inputs[0], _squares(tie.layer) * self.at_output(tie))

    def _add(self, value: ir.Value | None, more: FloatArray) -> None:
        if value is not None:
            known = self._found.get(value)
            self._found[value] = more.copy() if known is None else known + more

    def _back(self, node: ir.Node, output: ir.Value, place: Place) -> None:
        behind = self._found[output]
        for index, value in enumerate(node.inputs):
            own = self._ties.place(value)
            if value is None or own is None:
                continue
            if is_op(node, "Mul", "Div"):
                if _alike(own, place) and (index == 0 or not is_op(node, "Div")):
                    self._add(value, behind * self._through(node, index, value, output, own))
                continue
            by_root = np.zeros(self._roots.size)
            by_root[self._roots[place.slots.ravel()]] = behind
            kept = _AVERAGED.get(node.op_type, 1.0)
            self._add(value, kept * by_root[self._roots[own.slots.ravel()]])

    def _through(
        self, node: ir.Node, index: int, value: ir.Value, output: ir.Value, place: Place
    ) -> FloatArray:
        """Gain in noise power from a factor to the product."""
        size = place.slots.size
        before, after = self._seen(value, size), self._seen(output, size)
        if before is None or after is None:
            return np.ones(size)
        gate = node.inputs[1 - index] if is_op(node, "Mul") else None
        maker = None if gate is None else gate.producer()
        if maker is not None and _is_own_gate(value, maker, output.producer()):
            return _slope_power(maker, before)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = after.power / before.power
        return np.where(before.power > 0, ratio, 0.0)


def _squares(layer: Layer) -> FloatArray:
    """Sum of the squares of the weights of each input channel, float64 [input channels]."""
    weight = layers.numbers(layer).weight
    return np.asarray((weight**2).sum(axis=(layer.out_dim, 3)).ravel())


def _alike(one: Place, other: Place) -> bool:
    return one.axes == other.axes and one.slots.shape == other.slots.shape


def _is_own_gate(value: ir.Value, gate: ir.Node, product: ir.Node | None = None) -> bool:
    """Whether a gate, or a Mul in front of it, is computed from the value that it opens."""
    if is_op(gate, "Mul"):
        gates = [reader for reader in gate.outputs[0].consumers() if is_op(reader, *GATES)]
        return any(_is_own_gate(value, one, product) for one in gates)
    if not is_op(gate, *GATES):
        return False
    products = gate.outputs[0].consumers() if product is None else [product]
    source = gate.inputs[0]
    maker = None if source is None else source.producer()
    feeds = source is value or (maker is not None and is_op(maker, "Mul") and value in maker.inputs)
    return feeds and any(value in one.inputs for one in products)


def _slope_power(gate: ir.Node, seen: Channels) -> FloatArray:
    """Mean square of the slope of x * gate(x), with x normal of the mean and power observed."""
    deviation = np.sqrt(np.maximum(seen.power - seen.mean**2, 0.0))
    x = seen.mean[:, None] + deviation[:, None] * _GRID
    x = np.clip(x, seen.minimum[:, None], seen.maximum[:, None])
    if is_op(gate, "Sigmoid"):
        high = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
        slope = high * (1 + x * (1 - high))
    else:
        alpha = gate.attributes.get_float("alpha", 0.2)
        line = alpha * x + gate.attributes.get_float("beta", 0.5)
        inside = (line > 0) & (line < 1)
        slope = np.clip(line, 0, 1) + np.where(inside, alpha * x, 0.0)
    return np.asarray((slope**2) @ _BELL)
