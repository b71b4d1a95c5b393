"""Recognizes clamps, hard sigmoid and hard swish that are spelled out.

Clip, Relu, Min and Max with a number, alone or one behind the other, become one Clip or Relu. Clip
around ``a * x + b``, scaled to 0..1, becomes HardSigmoid; by x HardSigmoid and Mul. Measured in
onnxruntime 1.31 on x86-64, one thread, microseconds for the spelled-out form / HardSigmoid and Mul
/ the HardSwish op: [1,16,112,112] 119 / 66 / 66, [1,64,28,28] 36 / 23 / 23, [1,512,7,7] 20 / 14 /
13. The op gains nothing over the pair, which every opset has. At [1,64,56,56] Max of Min 105, Relu
and Min 93, Clip 52; Max with 0 63, Relu 45.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, macs, rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import constant_operand, opset, sole_reader
from edgeq.passes.polynomial import (
    ONE,
    Expansion,
    broadcasts_into,
    cone,
    monomial,
    replace,
    sources,
)

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_CLAMPS = ("Clip", "Max", "Min", "Relu")
_BOUNDS_AS_INPUTS: Final = 11
"""Opset from which Clip takes its bounds as inputs."""
_LARGEST = float(np.finfo(np.float32).max)
_LAYERS = (*macs.COMPUTE_OPS, "BatchNormalization")


@dataclass(frozen=True, slots=True)
class _Clamp:
    """``min(max(source, low), high)``."""

    source: ir.Value
    low: float
    high: float

    @property
    def is_relu(self) -> bool:
        """Whether Relu is the same."""
        return self.low == 0 and math.isinf(self.high)

    def of(self, inner: _Clamp) -> _Clamp:
        """This one, of what another one computes."""
        low, high = (min(max(b, self.low), self.high) for b in (inner.low, inner.high))
        return _Clamp(inner.source, low, high)


def recognize_activations(model: ir.Model) -> Outcome:
    """Rewrite spelled-out activations and merge clamps."""
    names, version = rewire.Names(model), opset(model)
    answers: list[Answer] = [
        _merge(node, version, names) for node in walk.nodes(model) if is_op(node, *_CLAMPS)
    ]
    answers += [_hard_sigmoid(node, names) for node in walk.nodes(model) if is_op(node, *_CLAMPS)]
    return Outcome.of(answers)


def _clamp(node: ir.Node | None) -> _Clamp | None:
    """The float32 node as a clamp with constant bounds."""
    if node is None or not is_op(node, *_CLAMPS) or node.graph is None or not node.inputs:
        return None
    source = node.inputs[0]
    if is_op(node, "Min", "Max"):
        operand = constant_operand(node)
        number = None if operand is None else _number(operand.array, operand.data)
        if operand is None or number is None:
            return None
        source = operand.data
        bounds = (number, math.inf) if is_op(node, "Max") else (-math.inf, number)
    elif is_op(node, "Relu"):
        bounds = (0.0, math.inf)
    else:
        found = _bounds(node)
        if found is None:
            return None
        bounds = found
    if source is None or source.dtype != ir.DataType.FLOAT or not bounds[0] <= bounds[1]:
        return None
    return _Clamp(source, *bounds)


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """The constant bounds of a Clip."""
    found = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            bound: float | None = node.attributes.get_float(name, default)
        else:
            bound = constants.scalar(value)
        if bound is None:
            return None
        found.append(default if abs(bound) >= _LARGEST and bound * default > 0 else bound)
    return found[0], found[1]


def _number(array: np.ndarray, data: ir.Value) -> float | None:
    """The only number in a constant that leaves the shape of ``data`` as it is."""
    if array.size != 1 or array.dtype != np.float32 or array.ndim > (rank_of(data) or 0):
        return None
    return float(array.reshape(()))


def _merge(node: ir.Node, version: int, names: Names) -> Answer:
    """Let one node do what this clamp and those in front of it do."""
    total = _clamp(node)
    if total is None:
        return False
    following = sole_reader(node.outputs[0])
    if following is not None and _clamp(following.node) is not None:
        return False
    nodes, value = [node], total.source
    while sole_reader(value) is not None and (inner := _clamp(value.producer())) is not None:
        total = total.of(inner)
        producer = value.producer()
        if producer is None or producer.graph is not node.graph:
            break
        nodes.append(producer)
        value = inner.source
    if len(nodes) == 1 and not _is_better_spelled(node, total):
        return False
    new = _emit(node, total, version, names)
    replace(node.outputs[0], new, nodes)
    return True


def _is_better_spelled(node: ir.Node, clamp: _Clamp) -> bool:
    """Whether another operator says what a single one does.

    Clip is what integer layers absorb. Min with 0 is left for ``recognize_rectifiers.py`` to read.
    """
    if clamp.is_relu:
        return is_op(node, "Max", "Clip")
    return is_op(node, "Max", "Min") and 0.0 not in (clamp.low, clamp.high)


def _emit(anchor: ir.Node, clamp: _Clamp, version: int, names: Names) -> ir.Value:
    output = anchor.outputs[0]
    if clamp.is_relu:
        base = f"{anchor.name}__relu"
        return edits.add_node(anchor, "Relu", [clamp.source], names, base, like=output)
    base = f"{anchor.name}__clip"
    bounds = {
        name: bound
        for name, bound in (("min", clamp.low), ("max", clamp.high))
        if math.isfinite(bound)
    }
    if version < _BOUNDS_AS_INPUTS:
        return edits.add_node(anchor, "Clip", [clamp.source], names, base, bounds, like=output)
    inputs: list[ir.Value | None] = [clamp.source, None, None]
    for index, name in ((1, "min"), (2, "max")):
        if name in bounds:
            data = np.asarray(bounds[name], np.float32)
            inputs[index] = edits.constant(anchor, data, names, f"{base}_{name}")
    return edits.add_node(anchor, "Clip", inputs, names, base, like=output)


@dataclass(frozen=True, slots=True)
class _Ramp:
    """``min(max(slope * source + offset, 0), 1)``."""

    source: ir.Value
    slope: float
    offset: float


@dataclass(frozen=True, slots=True)
class _HardSigmoid:
    """A place: what it ends in, its nodes, and whether x multiplies it."""

    root: ir.Value
    nodes: list[ir.Node]
    ramp: _Ramp
    gates: bool


def _hard_sigmoid(node: ir.Node, names: Names) -> Answer:
    """Let HardSigmoid, by x or not, take the place of a scaled ramp."""
    found = _hard_sigmoids(node)
    if not found:
        return False
    place = max(found, key=lambda each: len(each.nodes))
    anchor, source = place.nodes[0], place.ramp.source
    base = f"{anchor.name}__hard_sigmoid"
    attributes = {"alpha": place.ramp.slope, "beta": place.ramp.offset}
    new = edits.add_node(anchor, "HardSigmoid", [source], names, base, attributes, like=place.root)
    if place.gates:
        base = f"{anchor.name}__mul"
        new = edits.add_node(anchor, "Mul", [source, new], names, base, like=place.root)
    replace(place.root, new, place.nodes)
    return True


def _hard_sigmoids(node: ir.Node) -> list[_HardSigmoid]:
    """All the ways to read what is around a clamp."""
    clamp, found = _clamp(node), []
    if clamp is None or clamp.low != 0 or not 0 < clamp.high < math.inf:
        return []
    end, graph = node.outputs[0], edits.graph_of(node)
    for ramp in _ramps(clamp, graph):
        expansion = Expansion([ramp.source, end], graph)
        for gates in (True, False):
            product = monomial(end, ramp.source) if gates else monomial(end)
            for root in expansion.matches({product: 1 / clamp.high}):
                nodes = cone(root, [ramp.source])
                fits = broadcasts_into([*expansion.found[root].values()], ramp.source)
                if nodes is not None and fits and not (root is end and _folds(ramp.source)):
                    found.append(_HardSigmoid(root, nodes, ramp, gates))
    return found


def _ramps(clamp: _Clamp, graph: ir.Graph) -> list[_Ramp]:
    """The clamp's source as ``slope * x + offset``, the nearest x first."""
    found = []
    for source in sources(clamp.source)[1:]:
        read = Expansion([source], graph).of(clamp.source) or {}
        if set(read) - {monomial(source)} != {ONE} or not broadcasts_into([*read.values()], source):
            continue
        slope, offset = read.get(monomial(source), np.zeros(())), read[ONE]
        if slope.size == 1 and offset.size == 1 and np.any(slope):
            alpha, beta = (float(part.reshape(())) / clamp.high for part in (slope, offset))
            found.append(_Ramp(source, alpha, beta))
    return found


def _folds(source: ir.Value) -> bool:
    """Whether a layer in front can take up the slope and the offset, so that a Clip is left."""
    producer = source.producer()
    return (
        producer is not None
        and sole_reader(source) is not None
        and producer.op_type in (*_LAYERS, "Add", "Mul")
    )
