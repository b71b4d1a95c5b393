"""Replaces an If on a constant condition by the branch that is taken."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer


def fold_if(model: ir.Model) -> Outcome:
    """Inline the branches that are always taken."""
    choices = [node for node in walk.nodes(model) if is_op(node, "If")]
    if not any(constants.is_constant(node.inputs[0]) for node in choices):
        return Outcome()
    taken = _Taken(model)
    dropped: set[ir.Node] = set()
    # An If in a branch that was just dropped is in no model any more.
    return Outcome.of([_fold(n, taken, dropped) for n in choices if n not in dropped])


class _Taken:
    """Names of a model with how often each is taken, those of dropped branches included."""

    def __init__(self, model: ir.Model) -> None:
        self.names = rewire.Names(model)
        self.values = Counter(v.name for g in model.graphs() for v in _values(g))
        self.nodes = Counter(n.name for n in walk.nodes(model))


def _fold(node: ir.Node, taken: _Taken, dropped: set[ir.Node]) -> Answer:
    if not constants.is_constant(node.inputs[0]):
        return False
    condition = constants.scalar(node.inputs[0])
    if condition is None:
        return f"{where(node)}: its condition is not one truth value"
    branch = node.attributes["then_branch" if condition else "else_branch"].as_graph()
    if len(branch.outputs) != len(node.outputs):
        return f"{where(node)}: its branch has another number of outputs"
    _inline(node, branch, taken)
    dropped.update(
        n for _, body in walk.subgraphs(node) for n in ir.traversal.RecursiveGraphIterator(body)
    )
    rewire.remove(node)
    return True


def _inline(node: ir.Node, branch: ir.Graph, taken: _Taken) -> None:
    graph = edits.graph_of(node)
    outputs = list(branch.outputs)
    branch.outputs.clear()
    _rename_clashes(branch, taken)
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        graph.register_initializer(value)
    moved = list(branch)
    branch.remove(moved)
    graph.insert_before(node, moved)
    for old, new in zip(node.outputs, outputs, strict=True):
        rewire.take_place(old, new)


def _rename_clashes(branch: ir.Graph, taken: _Taken) -> None:
    """Sibling branches may use one name each for themselves; in one graph they may not."""
    for value in _values(branch):
        if value.name and taken.values[value.name] > 1:
            taken.values[value.name] -= 1
            value.name = taken.names.value(value.name)
    for node in branch:
        if node.name and taken.nodes[node.name] > 1:
            taken.nodes[node.name] -= 1
            node.name = taken.names.node(node.name)


def _values(graph: ir.Graph) -> list[ir.Value]:
    inner = [v for node in graph for v in node.outputs]
    return list({*graph.inputs, *graph.initializers.values(), *inner})
