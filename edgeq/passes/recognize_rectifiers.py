"""Recognizes functions of two slopes: Relu, LeakyRelu and PRelu, spelled out or not.

Every value that is ``a * x`` above 0 and ``b * x`` below is found, whatever Relu, Abs, Max, Min,
Where and arithmetic it is made of. Where a is 1, one b becomes LeakyRelu (Relu if it is 0), and a
constant one for each channel becomes ``max(x, b * x)``, which holds for b up to 1; a PRelu by
itself stays.

Measured in onnxruntime 1.31 on x86-64, one thread, microseconds at [1,64,56,56]: PRelu 1036 on
numbers of random signs and 148 on positive ones, its spelling in Keras 196, Mul and Max 106; Max
with one slope 151, Where 276, LeakyRelu 82, PRelu with one slope 1027. Mish stays spelled out: its
operator takes 2850, with Softplus 2810, with Exp and Log 830.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset
from edgeq.passes.polynomial import broadcasts_into, coefficient, cone, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Float64
    from edgeq.passes.outcome import Answer

_BENDING = ("Abs", "LeakyRelu", "Max", "Min", "PRelu", "Relu", "Where",
            "Greater", "GreaterOrEqual", "Less", "LessOrEqual")  # fmt: skip
_ABOVE: Final = {"Greater": True, "GreaterOrEqual": True, "Less": False, "LessOrEqual": False}
_BROADCASTS: Final = 8
"""Opset from which Max and PRelu broadcast as arithmetic does."""

_ROUNDING = 1e-5
_LIMIT = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Slopes:
    """A function of x: by what it multiplies x where x is above 0, and where it is below."""

    above: Float64
    below: Float64

    def each(self, other: _Slopes, combine: Callable[[Float64, Float64], Float64]) -> _Slopes:
        """The slopes of both, combined side by side."""
        return _Slopes(combine(self.above, other.above), combine(self.below, other.below))

    def scaled(self, factor: Float64) -> _Slopes:
        """This, by a constant."""
        return _Slopes(self.above * factor, self.below * factor)


def recognize_rectifiers(model: ir.Model) -> Outcome:
    """Turn functions of two slopes into Relu, LeakyRelu or Mul and Max."""
    if opset(model) < _BROADCASTS:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_recognize(source, names) for source in _bent(model)])


def _bent(model: ir.Model) -> list[ir.Value]:
    """The values that a node with a bend at 0 reads."""
    found: dict[ir.Value, None] = {}
    for node in walk.nodes(model):
        for value in node.inputs if is_op(node, *_BENDING) else ():
            floating = value is not None and value.dtype == ir.DataType.FLOAT
            if value is not None and floating and not constants.is_constant(value):
                found[value] = None
    return list(found)


def _recognize(source: ir.Value, names: Names) -> Answer:
    """Rewrite the largest function of the source that is worth it."""
    best: tuple[ir.Value, list[ir.Node], Float64] | None = None
    for value, slopes in _functions(source).items():
        below = _below(slopes, source)
        nodes = None if below is None else cone(value, [source])
        if below is None or not nodes or not _pays(nodes, below):
            continue
        if best is None or len(nodes) > len(best[1]):
            best = (value, nodes, below)
    if best is None:
        return False
    _rewrite(source, *best, names)
    return True


def _functions(source: ir.Value) -> dict[ir.Value, _Slopes]:
    """Every value that is a function of two slopes of the source."""
    found = {source: _Slopes(np.ones(()), np.ones(()))}
    signs: dict[ir.Value, bool] = {}
    pending = [source]
    while pending and len(found) < _LIMIT:
        for use in pending.pop(0).uses():
            node = use.node
            if len(node.outputs) != 1 or node.outputs[0] in found or node.domain:
                continue
            sign = _sign(node, found)
            if sign is not None and node.outputs[0] not in signs:
                signs[node.outputs[0]] = sign
                pending.append(node.outputs[0])
            slopes = _read(node, found, signs)
            if slopes is not None:
                found[node.outputs[0]] = slopes
                pending.append(node.outputs[0])
    del found[source]
    return found


def _of(value: ir.Value | None, found: dict[ir.Value, _Slopes]) -> _Slopes | None:
    """The slopes of a value; those of a constant 0 are 0, in its shape: it may widen a result."""
    if value is None or value in found:
        return None if value is None else found[value]
    array = coefficient(value)
    return _Slopes(array, array) if array is not None and not np.any(array) else None


def _sign(node: ir.Node, found: dict[ir.Value, _Slopes]) -> bool | None:
    """Whether a comparison with 0 is true where x is above it; None for what is no comparison."""
    if node.op_type not in _ABOVE or len(node.inputs) != 2:
        return None
    left, right = node.inputs
    sides = [_of(left, found), _of(right, found)]
    varying = [value in found for value in (left, right)]
    if None in sides or varying.count(True) != 1:
        return None
    slopes = found[left] if varying[0] and left is not None else sides[1]
    if slopes is None:
        return None
    above = _ABOVE[node.op_type] is varying[0]
    if np.all(slopes.above > 0) and np.all(slopes.below > 0):
        return above
    if np.all(slopes.above < 0) and np.all(slopes.below < 0):
        return not above
    return None


def _read(
    node: ir.Node, found: dict[ir.Value, _Slopes], signs: dict[ir.Value, bool]
) -> _Slopes | None:
    try:
        if is_op(node, "Where"):
            return _where(node, found, signs)
        if is_op(node, "Mul", "Div"):
            return _scaled(node, found)
        if is_op(node, "PRelu"):
            return _prelu(node, found)
        rule = _RULES.get(node.op_type)
        operands = [_of(value, found) for value in node.inputs]
        known = [each for each in operands if each is not None]
        if rule is None or len(known) != len(operands) or len(known) not in (1, 2):
            return None
        if is_op(node, "LeakyRelu"):
            return _leaky(known[0], np.asarray(node.attributes.get_float("alpha", 0.01)))
        return rule(known[0], known[-1])
    except ValueError:
        return None


def _where(
    node: ir.Node, found: dict[ir.Value, _Slopes], signs: dict[ir.Value, bool]
) -> _Slopes | None:
    condition, *branches = node.inputs
    sides = [_of(value, found) for value in branches]
    if condition not in signs or len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    above, below = sides if signs[condition] else sides[::-1]
    if above is None or below is None:
        return None
    return _Slopes(above.above, below.below)


def _scaled(node: ir.Node, found: dict[ir.Value, _Slopes]) -> _Slopes | None:
    for data, constant in (node.inputs, node.inputs[::-1]):
        factor = None if constant is None else coefficient(constant)
        if data not in found or factor is None:
            continue
        if is_op(node, "Mul"):
            return found[data].scaled(factor)
        if data is node.inputs[0] and np.all(factor != 0):
            return found[data].scaled(1 / factor)
    return None


def _prelu(node: ir.Node, found: dict[ir.Value, _Slopes]) -> _Slopes | None:
    data, slope = node.inputs
    factor = None if slope is None else coefficient(slope)
    return None if data not in found or factor is None else _leaky(found[data], factor)


def _leaky(data: _Slopes, factor: Float64) -> _Slopes:
    """The factor where the function is negative: below 0 that is where its slope is positive."""
    return _Slopes(
        np.where(data.above >= 0, data.above, data.above * factor),
        np.where(data.below <= 0, data.below, data.below * factor),
    )


_RULES: Final[dict[str, Callable[[_Slopes, _Slopes], _Slopes]]] = {
    "Abs": lambda data, _: _leaky(data, -np.ones(())),
    "Add": lambda left, right: left.each(right, np.add),
    "LeakyRelu": lambda data, _: data,
    "Max": lambda left, right: _Slopes(
        np.maximum(left.above, right.above), np.minimum(left.below, right.below)
    ),
    "Min": lambda left, right: _Slopes(
        np.minimum(left.above, right.above), np.maximum(left.below, right.below)
    ),
    "Neg": lambda data, _: data.scaled(-np.ones(())),
    "Relu": lambda data, _: _leaky(data, np.zeros(())),
    "Sub": lambda left, right: left.each(right, np.subtract),
}


def _below(slopes: _Slopes, source: ir.Value) -> Float64 | None:
    """The slope below 0 of a function that is x above it, if it leaves the shape of x."""
    if np.any(np.abs(slopes.above - 1) > _ROUNDING) or np.all(slopes.below == 1):
        return None
    if not broadcasts_into([slopes.above, slopes.below], source):
        return None
    return slopes.below


def _pays(nodes: list[ir.Node], below: Float64) -> bool:
    """Whether the nodes are more than what takes their place, or slower."""
    if _is_uniform(below):
        return len(nodes) > 1 or is_op(nodes[0], "PRelu")
    return bool(np.all(below <= 1)) and len(nodes) > 2


def _is_uniform(array: Float64) -> bool:
    return bool(np.ptp(array) <= _ROUNDING * float(np.abs(array).max()))


def _rewrite(
    source: ir.Value, root: ir.Value, nodes: list[ir.Node], below: Float64, names: Names
) -> None:
    anchor = nodes[0]
    number = float(below.reshape(-1)[0])
    if not _is_uniform(below):
        base = f"{anchor.name}__slope"
        slope = edits.constant(anchor, np.asarray(below, np.float32), names, base)
        scaled = edits.add_node(anchor, "Mul", [source, slope], names, base, like=root)
        base = f"{anchor.name}__max"
        new = edits.add_node(anchor, "Max", [source, scaled], names, base, like=root)
    elif abs(number) <= _ROUNDING**2:
        new = edits.add_node(anchor, "Relu", [source], names, f"{anchor.name}__relu", like=root)
    elif number == -1:
        new = edits.add_node(anchor, "Abs", [source], names, f"{anchor.name}__abs", like=root)
    else:
        base, attributes = f"{anchor.name}__leaky", {"alpha": number}
        new = edits.add_node(anchor, "LeakyRelu", [source], names, base, attributes, like=root)
    replace(root, new, nodes)
