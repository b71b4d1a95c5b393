"""Folds Transposes into the layers that read them.

Keras flattens channels-last pictures in front of a dense layer: behind a convolution that takes a
Transpose, unless the rows of the dense layer's weight are put into the order that the convolution
writes. And Gemm can read a matrix transposed by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import rank, static
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.layout import permutation
from edgeq.passes.layout.rules import is_elementwise
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import sole_reader, where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.graph.rewire import Names
    from edgeq.passes.layout.permutation import Order
    from edgeq.passes.outcome import Answer

_SWAP = (1, 0)


def fold_transpose_into_layer(model: ir.Model) -> Outcome:
    """Fold Transposes into Gemms, and through Reshape or Flatten into weights."""
    nodes = [n for n in walk.nodes(model) if is_op(n, "Transpose")]
    if not nodes:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_into_gemm(node) or _into_rows(node, names) for node in nodes])


def _into_gemm(node: ir.Node) -> Answer:
    """Let a Gemm read a computed weight the other way round.

    Its data are left as they are: quantized kernels of a Gemm read them one way only.
    """
    use = sole_reader(node.outputs[0])
    if use is None or use.index != 1 or not is_op(use.node, "Gemm"):
        return False
    if permutation.of(node) != _SWAP or constants.is_constant(node.inputs[0]):
        return False
    flipped = 1 - use.node.attributes.get_int("transB", 0)
    use.node.attributes.add(ir.AttrInt64("transB", flipped))
    use.node.replace_input_with(1, node.inputs[0])
    rewire.remove(node)
    return True


def _into_rows(node: ir.Node, names: Names) -> Answer:
    order = permutation.of(node)
    view = None if order is None or order[0] != 0 else _flattened(node)
    if order is None or view is None:
        return False
    sizes = static(_behind_batch(node.outputs[0]))
    layers = _layers(view.outputs[0])
    place = f"{where(node)} in front of {where(view)}"
    if sizes is None:
        return f"{place}: its sizes are not known"
    if not layers:
        return f"{place}: not only layers with constant weights read it"
    if view.outputs[0].shape is None or view.outputs[0].shape[1] != int(np.prod(sizes)):
        return f"{place}: that does not make one row of each picture"
    for layer in layers:
        _permute_rows(layer, sizes, order, names)
    first = sole_reader(node.outputs[0])
    if first is not None:
        first.node.replace_input_with(first.index, node.inputs[0])
    _reshape_between(node, view, order)
    rewire.remove(node)
    return True


def _behind_batch(value: ir.Value) -> ir.Value:
    """A value of the same shape but for the first axis."""
    shape = None if value.shape is None else ir.Shape(list(value.shape)[1:])
    return ir.Value(name=None, shape=shape)


def _flattened(node: ir.Node) -> ir.Node | None:
    """The Reshape or Flatten that makes a matrix of what a Transpose writes."""
    use = sole_reader(node.outputs[0])
    while use is not None and use.index == 0 and is_elementwise(use.node):
        use = sole_reader(use.node.outputs[0])
    if use is None or use.index != 0 or not is_op(use.node, "Reshape", "Flatten"):
        return None
    return use.node if rank(use.node.outputs[0]) == 2 else None


def _layers(value: ir.Value) -> list[ir.Node]:
    """The layers that read a matrix, directly or through elementwise nodes; none if others do."""
    found: list[ir.Node] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        producer, uses = current.producer(), current.uses()
        if current.is_graph_output() or producer is None or not uses:
            return []
        for use in uses:
            if use.node.graph is not producer.graph or use.idx != 0:
                return []
            if _has_rows(use.node):
                found.append(use.node)
            elif is_elementwise(use.node):
                waiting.append(use.node.outputs[0])
            else:
                return []
    return found


def _has_rows(node: ir.Node) -> bool:
    if not is_op(node, "MatMul", "Gemm") or node.attributes.get_int("transA", 0) != 0:
        return False
    weight = constants.tensor(node.inputs[1])
    return weight is not None and len(weight.shape) == 2


def _permute_rows(layer: ir.Node, sizes: Sequence[int], order: Order, names: Names) -> None:
    """Put the rows of a weight, which count elements of ``sizes``, into the order before that."""
    weight = constants.array(layer.inputs[1])
    if weight is None:
        return
    transposed = layer.attributes.get_int("transB", 0) != 0
    rows = weight.T if transposed else weight
    back = permutation.inverse(tuple(axis - 1 for axis in order[1:]))
    spread = rows.reshape(*sizes, -1).transpose((*back, len(sizes)))
    new = spread.reshape(rows.shape)
    edits.set_constant(layer, 1, new.T if transposed else new, names, f"{layer.name}__weight")


def _reshape_between(node: ir.Node, view: ir.Node, order: Order) -> None:
    """What stands between a Transpose and a view now has the shape from before the Transpose."""
    back = permutation.inverse(order)
    current = view.inputs[0]
    while current is not None and current is not node.inputs[0]:
        if current.shape is not None:
            current.shape = permutation.reordered(current.shape, back)
        producer = current.producer()
        current = None if producer is None else producer.inputs[0]
