"""Recognizes Softmax and Sigmoid that are spelled out with Exp.

Measured in onnxruntime 1.31 on x86-64, one thread, microseconds at [1,196,768]: Softmax 70, Exp,
ReduceSum and Div behind the subtraction of the maximum 136. ``log(1 + exp(x))`` stays: Softplus is
three times slower than its spelling, and Mish, which the runtime spells with it, as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, opset, produced_by, where
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
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_PER_AXIS = 13
"""Opset from which Softmax is along one axis; before, it was over that one and all behind it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A value to compute otherwise: the operator, its input, and a factor of its output."""

    op_type: str
    source: ir.Value
    root: ir.Value
    nodes: list[ir.Node]
    axis: int | None = None
    factor: ir.Value | None = None


def recognize_softmax(model: ir.Model) -> Outcome:
    """Turn exponentials over their sums into operators."""
    names, version = rewire.Names(model), opset(model)
    answers: list[Answer] = []
    for node in [n for n in walk.nodes(model) if is_op(n, "Exp")]:
        value = node.inputs[0]
        if value is None or value.dtype != ir.DataType.FLOAT:
            continue
        found = _softmax(node, version) or _sigmoid(node)
        answers.append(_rewrite(found, names) if isinstance(found, _Found) else found)
    return Outcome.of(answers)


def _rewrite(found: _Found, names: Names) -> Answer:
    anchor = found.nodes[0]
    base = f"{anchor.name}__{found.op_type.lower()}"
    attributes = {} if found.axis is None else {"axis": found.axis}
    new = edits.add_node(
        anchor, found.op_type, [found.source], names, base, attributes, like=found.root
    )
    if found.factor is not None:
        base = f"{anchor.name}__mul"
        new = edits.add_node(anchor, "Mul", [found.factor, new], names, base, like=found.root)
    replace(found.root, new, found.nodes)
    return True


def _softmax(node: ir.Node, version: int) -> _Found | Answer:
    exponential = node.outputs[0]
    for use in exponential.uses():
        axis = _axis(use.node) if is_op(use.node, "ReduceSum") else None
        rank = rank_of(node.inputs[0])
        if axis is None or rank is None or (version < _PER_AXIS and axis != rank - 1):
            continue
        total = use.node.outputs[0]
        graph = edits.graph_of(node)
        expansion = Expansion([exponential, total], graph, positive=[exponential, total])
        wanted = {monomial(exponential, (total, -1)): 1.0}
        for root in expansion.matches(wanted):
            if not broadcasts_into([*expansion.found[root].values()], exponential):
                continue
            source = _shifted(node.inputs[0], axis)
            nodes = None if source is None else cone(root, [source])
            if source is None or nodes is None:
                return f"{where(node)}: others read what is inside its softmax"
            return _Found("Softmax", source, root, nodes, axis)
    return False


def _axis(node: ir.Node | None) -> int | None:
    """The one axis that the node reduces and keeps, counted from the front."""
    if node is None or node.attributes.get_int("keepdims", 1) != 1:
        return None
    axes, rank = ints(node, 1, "axes"), rank_of(node.inputs[0])
    if axes is None or rank is None or len(axes) != 1:
        return None
    return axes[0] % rank


def _shifted(value: ir.Value | None, axis: int) -> ir.Value | None:
    """What the maximum along the axis is subtracted from; the value itself otherwise."""
    difference = produced_by(value, "Sub")
    if difference is None:
        return value
    source, maximum = difference.inputs
    reduction = produced_by(maximum, "ReduceMax")
    if reduction is None or reduction.inputs[0] is not source or _axis(reduction) != axis:
        return value
    return source


def _sigmoid(node: ir.Node) -> _Found | Answer:
    """``1 / (1 + exp(-x))``, ``exp(x) / (1 + exp(x))``, or x by one of them."""
    exponential, graph = node.outputs[0], edits.graph_of(node)
    plus = next(Expansion([exponential], graph).matches({monomial(exponential): 1, ONE: 1}), None)
    if plus is None:
        return False
    for source in sources(node.inputs[0]):
        sign = _sign(node, source)
        if not sign:
            continue
        expansion = Expansion([source, exponential, plus], graph, positive=[exponential, plus])
        factors = [(plus, -1.0)] if sign < 0 else [(plus, -1.0), (exponential, 1.0)]
        for factor in (source, None):
            product = monomial(*factors, *([] if factor is None else [factor]))
            for root in expansion.matches({product: 1.0}):
                nodes = cone(root, [source])
                if nodes and broadcasts_into([*expansion.found[root].values()], source):
                    return _Found("Sigmoid", source, root, nodes, factor=factor)
    return False


def _sign(node: ir.Node, source: ir.Value) -> int:
    """1 or -1 where the node's input is the source by that; else 0."""
    read = Expansion([source], edits.graph_of(node)).of(node.inputs[0])
    for sign in (1, -1):
        if read is not None and is_close(read, {monomial(source): float(sign)}, 0.0):
            return sign
    return 0
