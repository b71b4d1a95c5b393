"""Which channels of which values can be scaled, and which of them only together.

A layer with constant weights reads and writes any factors, as they move into its weights; so do
constants that are multiplied, and normalizations. What is homogeneous in between (Relu, pools, Add
of two values) hands factors on and ties them to each other. Everything else refuses: what it reads
keeps its numbers. One walk through the main graph finds it all; bodies and graph outputs refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.walk import is_op, nodes
from edgeq.passes import layer as layers
from edgeq.passes import passages
from edgeq.refinement.tie_rules import RULES, VIEWS, tie_layer, tie_view
from edgeq.refinement.ties import Ties

if TYPE_CHECKING:
    from edgeq.refinement.tie_rules import Places


def find_ties(model: ir.Model) -> Ties:
    """Find what can be scaled.

    Args:
        model: Not changed; what is found refers to its nodes and values.
    """
    ties, follower = Ties(), passages.Passages(model)
    for node in model.graph:
        if constants.is_constant(node.outputs[0] if node.outputs else None):
            continue
        places = _visit(ties, node, follower)
        if places is None:
            ties.refuse(node)
            continue
        for value, place in zip(node.outputs, places, strict=False):
            if place is not None:
                ties.places[value] = place
    _hold(ties, model)
    return ties


def _hold(ties: Ties, model: ir.Model) -> None:
    """What leaves the graph, or enters a body, keeps its numbers."""
    for value in model.graph.outputs:
        place = ties.place(value)
        if place is not None:
            ties.factors.freeze(place.slots)
    for node in nodes(model):
        if node.graph is not model.graph:
            ties.refuse(node)
    for graph in model.graphs():
        for value in graph.outputs if graph is not model.graph else ():
            place = ties.place(value)
            if place is not None:
                ties.factors.freeze(place.slots)


def _visit(ties: Ties, node: ir.Node, follower: passages.Passages) -> Places:
    """What the node's outputs carry; None when it refuses."""
    if not is_op(node, node.op_type) or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    if is_op(node, *layers.LAYER_OPS):
        return tie_layer(ties, node)
    rule = RULES.get(node.op_type)
    if rule is not None:
        return rule(ties, node)
    if is_op(node, *VIEWS):
        return tie_view(ties, node, follower)
    return None
