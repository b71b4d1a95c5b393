"""Moves Transposes to where they cost least; most of them meet others there and vanish.

Frameworks that keep channels last export a Transpose in front of and behind each convolution. What
stands between - activations, arithmetic, Concat, Pad, reductions - works in any order of axes,
with its axes and constants permuted. For each kind of Transpose, the cheapest order of every such
node is found by a minimum cut (:mod:`edgeq.passes.layout`), and the graph is rewritten where that
saves Transposes, or elements that they move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes.layout.problem import priced
from edgeq.passes.layout.regions import kinds, regions
from edgeq.passes.layout.turning import turn
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.layout.permutation import Order

_ROUNDS = 16
"""Moving Transposes of one kind may bring others together; how often that is followed."""


def move_transposes(model: ir.Model) -> Outcome:
    """Move, merge and cancel Transposes; counts the regions that were rewritten."""
    if not any(is_op(node, "Transpose") for node in walk.nodes(model)):
        return Outcome()
    names, version = rewire.Names(model), opset(model)
    return Outcome(sum(_settle(graph, version, names) for graph in model.graphs()))


def _settle(graph: ir.Graph, version: int, names: Names) -> int:
    total = 0
    absorbing = False
    for _ in range(_ROUNDS):
        changes = sum(_move(graph, order, version, names, absorbing) for order in kinds(graph))
        total += changes
        if not changes and absorbing:
            break
        # A Transpose that took in another kind may be harder to get rid of: that comes second.
        absorbing = not changes
    return total


def _move(graph: ir.Graph, order: Order, version: int, names: Names, absorbing: bool) -> int:
    changes = 0
    for region in regions(graph, order, version, absorbing=absorbing):
        problem = priced(region)
        labels = problem.solve()
        if problem.cost(labels) < problem.cost_now():
            turn(graph, region, labels, names)
            changes += 1
    return changes
