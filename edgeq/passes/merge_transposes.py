"""Merges Transposes that follow each other, and makes those Reshapes that move no elements.

A Transpose that only moves axes of size 1 leaves all elements where they are: as a Reshape it
copies nothing, and merges with its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.layout import permutation
from edgeq.passes.layout.regions import feeds_product
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, where

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_TARGET_IS_AN_INPUT = 5
"""The opset from which Reshape reads its target as an input."""


def merge_transposes(model: ir.Model) -> Outcome:
    """Merge chains of Transposes; replace by Reshape what moves axes of size 1 only."""
    nodes = [n for n in walk.nodes(model) if is_op(n, "Transpose")]
    if not nodes:
        return Outcome()
    names, version = rewire.Names(model), opset(model)
    answers: list[Answer] = [_merge(node) for node in nodes]
    answers += [_identity(node) for node in nodes if node.graph is not None]
    remaining = [n for n in nodes if n.graph is not None and is_op(n, "Transpose")]
    return Outcome.of([*answers, *(_reshape(node, version, names) for node in remaining)])


def _merge(node: ir.Node) -> Answer:
    """Let a Transpose behind another read what that one reads."""
    data = node.inputs[0]
    earlier = None if data is None else data.producer()
    if data is None or earlier is None or earlier.graph is not node.graph:
        return False
    first, second = permutation.of(earlier), permutation.of(node)
    if first is None or second is None or len(first) != len(second):
        return False
    both = permutation.permuted(first, second)
    if both != tuple(sorted(both)) and not _is_worth_it(earlier, node):
        return False
    node.attributes.add(ir.AttrInt64s("perm", both))
    node.replace_input_with(0, earlier.inputs[0])
    if not data.uses() and not data.is_graph_output():
        rewire.remove(earlier)
    return True


def _is_worth_it(earlier: ir.Node, node: ir.Node) -> bool:
    """Whether a Transpose goes away, and not one that a product does for nothing."""
    data = earlier.outputs[0]
    if feeds_product(node) or data.is_graph_output():
        return False
    return all(is_op(use.node, "Transpose") and use.node.graph is node.graph for use in data.uses())


def _identity(node: ir.Node) -> bool:
    """Say so where all axes stay: an output of the graph may need the node."""
    order = permutation.of(node)
    if order is None or order != tuple(sorted(order)):
        return False
    node.op_type = "Identity"
    node.attributes.clear()
    return True


def _reshape(node: ir.Node, version: int, names: Names) -> Answer:
    data, order, output = node.inputs[0], permutation.of(node), node.outputs[0]
    if data is None or data.shape is None or order is None or constants.is_constant(data):
        return False
    if not permutation.is_free(order, data.shape) or order == tuple(sorted(order)):
        return False
    if version < _TARGET_IS_AN_INPUT or 0 in data.shape:
        return False
    sizes = _target(data.shape, order)
    if sizes is None:
        return f"{where(node)}: it moves no elements, but more than one of its sizes is unknown"
    target = edits.constant(node, np.array(sizes, np.int64), names, f"{node.name}__shape")
    base = f"{node.name}__reshape"
    new = edits.add_node(node, "Reshape", [data, target], names, base, like=output)
    rewire.take_place(output, new)
    rewire.remove(node)
    return True


def _target(shape: ir.Shape, order: permutation.Order) -> list[int] | None:
    """What to tell a Reshape: 0 copies the size of the axis at the same place."""
    sizes = []
    for place, axis in enumerate(order):
        size = shape[axis]
        known = isinstance(size, int) and size >= 0
        sizes.append(size if isinstance(size, int) and known else 0 if axis == place else -1)
    return None if sizes.count(-1) > 1 else sizes
