"""Recognizes GELU that is spelled out with Erf, Tanh or Sigmoid.

From opset 20 on it becomes the Gelu operator. Below, the arithmetic is written as it is cheapest:
with Erf in the one spelling that onnxruntime fuses (Div, Erf, Add, Mul, Mul:
onnxruntime/core/optimizer/gelu_fusion.cc), with Tanh as ``x * sigmoid(x * (a + b * x * x))``, which
is equal and has fewer steps. Measured in onnxruntime 1.31 on x86-64, one thread, microseconds at
[1,128,1536]: Erf in another spelling 330, as it is fused 166, Gelu 165; Tanh spelled out 472, with
Sigmoid 365, Gelu 184.

``x * Sigmoid(1.702 * x)`` and ``x * Sigmoid(x)`` stay: onnxruntime fuses them (196 and 84), and
runs the Swish operator of opset 24 as four nodes (244).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, where
from edgeq.passes.polynomial import (
    ONE,
    Expansion,
    broadcasts_into,
    cone,
    is_close,
    monomial,
    replace,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_SINCE = 20
_ROOT = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_FUSED = ["Add", "Div", "Erf", "Mul", "Mul"]
_EXACT = 1e-6
_SHORT = 6
"""Nodes of the spelling with Sigmoid."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A spelling: ``t = function(sum of argument[n] * x**n)``, and what is made of x and t.

    Attributes:
        argument: Exponent of x -> coefficient.
        gated: Coefficient of ``x * t``.
        plain: Coefficient of ``x``.
        approximate: The attribute of Gelu.
    """

    argument: Mapping[int, float]
    gated: float
    plain: float
    approximate: str


_FORMS: Final = {
    "Erf": _Form({1: math.sqrt(0.5)}, 0.5, 0.5, "none"),
    "Tanh": _Form({1: _ROOT, 3: _ROOT * _CUBIC}, 0.5, 0.5, "tanh"),
    "Sigmoid": _Form({1: 2 * _ROOT, 3: 2 * _ROOT * _CUBIC}, 1.0, 0.0, "tanh"),
}


@dataclass(frozen=True, slots=True)
class _Gelu:
    """A place: what it reads, what it ends in, and its nodes."""

    source: ir.Value
    root: ir.Value
    nodes: list[ir.Node]
    form: _Form
    fused: bool


def recognize_gelu(model: ir.Model) -> Outcome:
    """Turn spelled-out GELU into the operator, or into its cheapest spelling."""
    names, version = rewire.Names(model), opset(model)
    answers: list[Answer] = []
    older = 0
    for node in [n for n in walk.nodes(model) if is_op(n, *_FORMS)]:
        found = _find(node)
        if not isinstance(found, _Gelu):
            answers.append(found)
            continue
        older += version < _SINCE
        answers.append(_rewrite(found, version, names))
    if older:
        answers.append(
            f"{older} GELU stay arithmetic: Gelu needs opset {_SINCE}, the model has {version}"
        )
    return Outcome.of(answers)


def _find(node: ir.Node) -> _Gelu | Answer:
    form, gate, argument = _FORMS[node.op_type], node.outputs[0], node.inputs[0]
    graph = edits.graph_of(node)
    if argument is None or argument.dtype != ir.DataType.FLOAT:
        return False
    for source in sources(argument):
        expansion = Expansion([source, gate], graph)
        wanted = {monomial((source, n)): number for n, number in form.argument.items()}
        read = expansion.of(argument)
        if read is not None and is_close(read, wanted):
            return _ended(node, source, expansion, form)
    return False


def _ended(node: ir.Node, source: ir.Value, expansion: Expansion, form: _Form) -> _Gelu | Answer:
    gate = node.outputs[0]
    wanted = {monomial(source, gate): form.gated}
    if form.plain:
        wanted[monomial(source)] = form.plain
    answer: Answer = False
    for root in expansion.matches(wanted):
        if not broadcasts_into([*expansion.found[root].values()], source):
            continue
        nodes = cone(root, [source])
        if nodes is None:
            answer = f"{where(node)}: others read what is inside its GELU"
            continue
        fused = _is_fused(expansion, source, gate, nodes)
        return _Gelu(source, root, nodes, form, fused)
    return answer


def _argument(gate: ir.Value) -> ir.Value | None:
    node = gate.producer()
    return None if node is None else node.inputs[0]


def _is_fused(expansion: Expansion, source: ir.Value, gate: ir.Value, nodes: list[ir.Node]) -> bool:
    """Whether onnxruntime takes the spelling; it compares constants closely."""
    if sorted(node.op_type for node in nodes) != _FUSED:
        return False
    argument = expansion.of(_argument(gate))
    exact = argument is not None and is_close(argument, {monomial(source): math.sqrt(0.5)}, _EXACT)
    one_more = next(expansion.matches({monomial(gate): 1, ONE: 1}, _EXACT), None)
    halved = next(expansion.matches({monomial(gate): 0.5, ONE: 0.5}), None)
    return exact and one_more is not None and halved is None


def _rewrite(found: _Gelu, version: int, names: Names) -> Answer:
    anchor = found.nodes[0]
    base = f"{anchor.name}__gelu"
    if version >= _SINCE:
        attributes = {"approximate": found.form.approximate}
        new = edits.add_node(
            anchor, "Gelu", [found.source], names, base, attributes, like=found.root
        )
    elif found.form is _FORMS["Erf"] and not found.fused:
        new = _spell(anchor, found, names, _erf_steps())
    elif found.form is _FORMS["Tanh"] and len(found.nodes) > _SHORT:
        new = _spell(anchor, found, names, _sigmoid_steps())
    else:
        return False
    replace(found.root, new, found.nodes)
    return True


def _erf_steps() -> tuple[tuple[str, float | None], ...]:
    return (("Div", math.sqrt(2)), ("Erf", None), ("Add", 1.0), ("Mul", None), ("Mul", 0.5))


def _sigmoid_steps() -> tuple[tuple[str, float | None], ...]:
    linear, cubic = 2 * _ROOT, 2 * _ROOT * _CUBIC
    return (
        ("Mul", None),
        ("Mul", cubic),
        ("Add", linear),
        ("Mul", None),
        ("Sigmoid", None),
        ("Mul", None),
    )


def _spell(
    anchor: ir.Node, found: _Gelu, names: Names, steps: tuple[tuple[str, float | None], ...]
) -> ir.Value:
    """Apply steps to the source, one behind the other; a product without a number is by it."""
    value = found.source
    for op_type, number in steps:
        base = f"{anchor.name}__{op_type.lower()}"
        inputs = [value]
        if number is not None:
            inputs.append(edits.constant(anchor, np.asarray(number, np.float32), names, base))
        elif op_type == "Mul":
            inputs.insert(0, found.source)
        value = edits.add_node(anchor, op_type, inputs, names, base, like=found.root)
    return value
