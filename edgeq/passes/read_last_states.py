"""Reads the last step of a recurrent node from the output that holds nothing else.

Classifiers of sequences take the last of all steps, Y[-1]. A node that runs forward over sequences
of one length hands just that out as Y_h (ONNX operators LSTM, GRU and RNN); with the Slice or
Gather goes the output of all steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.merge_slices import may_replace
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import given, ints, opset
from edgeq.passes.symbolic_shapes import FAR

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_RECURRENT = ("GRU", "LSTM", "RNN")

_LENGTHS = 4
"""The input that tells how long each sequence is."""

_SQUEEZE = 13
"""The opset from which a Squeeze reads its axes as an input."""


def read_last_states(model: ir.Model) -> Outcome:
    """Replace the last step of all by the last state."""
    found = [node for node in walk.nodes(model) if is_op(node, "Slice", "Gather")]
    if not found:
        return Outcome()
    names, version = rewire.Names(model), opset(model)
    return Outcome.of([_replace(node, version, names) for node in found])


def _replace(node: ir.Node, version: int, names: Names) -> Answer:
    value, axes = _source(node.inputs[0])
    recurrent = None if value is None else value.producer()
    if recurrent is None or not _is_plain(recurrent) or value is not recurrent.outputs[0]:
        return False
    if recurrent.graph is not node.graph or 0 not in axes:
        return False
    axis = axes.index(0)
    if [a for a in axes if a > 1] != [2, 3] or not _takes_last(node, axis):
        return False
    left = [a for a in axes if a != 0] if is_op(node, "Gather") else [a or 1 for a in axes]
    if left not in ([1, 2, 3], [2, 3]) or not may_replace(node.outputs[0], recurrent.outputs[0]):
        return False
    state = _state(recurrent, node, names)
    if left == [2, 3]:
        state = _squeeze(node, state, version, names)
    rewire.take_place(node.outputs[0], state)
    rewire.remove(node)
    return True


def _source(value: ir.Value | None) -> tuple[ir.Value | None, list[int]]:
    """What a value was before directions were dropped and axes swapped, and which are where."""
    steps: list[ir.Node] = []
    while value is not None and (node := value.producer()) is not None:
        if not is_op(node, "Squeeze", "Transpose"):
            break
        steps.append(node)
        value = node.inputs[0]
    axes = [0, 1, 2, 3]
    for node in reversed(steps):
        if is_op(node, "Squeeze"):
            dropped = ints(node, 1, "axes")
            if dropped is None or [axes[a] for a in dropped if -len(axes) <= a < len(axes)] != [1]:
                return None, []
            axes.remove(1)
        else:
            order = node.attributes.get_ints("perm", tuple(reversed(range(len(axes)))))
            if len(order) != len(axes):
                return None, []
            axes = [axes[a] for a in order]
    return value, axes


def _is_plain(node: ir.Node) -> bool:
    """Whether a node runs forward over sequences of one length."""
    if not is_op(node, *_RECURRENT) or given(node, _LENGTHS):
        return False
    forward = node.attributes.get_string("direction", "forward") == "forward"
    return forward and not node.attributes.get_int("layout", 0)


def _takes_last(node: ir.Node, axis: int) -> bool:
    """Whether a Slice or Gather takes the last element of an axis, and all of the others."""
    data = node.inputs[0]
    shape = None if data is None else data.shape
    size = None if shape is None else shape[axis]
    last = (-1, size - 1) if isinstance(size, int) and size > 0 else (-1,)
    rank = 0 if shape is None else len(shape)
    if is_op(node, "Gather"):
        index = node.inputs[1]
        scalar = index is not None and index.shape is not None and len(index.shape) == 0
        chosen = ints(node, 1, "")
        own = node.attributes.get_int("axis", 0) in (axis, axis - rank if rank else axis)
        return scalar and own and chosen is not None and len(chosen) == 1 and chosen[0] in last
    starts, ends = ints(node, 1, "starts"), ints(node, 2, "ends")
    axes = ints(node, 3, "axes") if given(node, 3) or "axes" in node.attributes else None
    if starts is None or ends is None or axes is None or len(starts) != 1 or given(node, 4):
        return False
    whole = ends[0] >= FAR or (isinstance(size, int) and ends[0] >= size)
    own = axes[0] in (axis, axis - rank if rank else axis)
    return own and starts[0] in last and whole


def _state(recurrent: ir.Node, node: ir.Node, names: Names) -> ir.Value:
    """The output that holds the last state: [directions, batch, hidden]."""
    if len(recurrent.outputs) < 2:
        recurrent.resize_outputs(2)
    every, state = recurrent.outputs[:2]
    if not state.name:
        state.name = names.value(f"{recurrent.name}__last")
    if state.type is None:
        state.type = node.outputs[0].type
    if state.shape is None and every.shape is not None and len(every.shape) == 4:
        state.shape = ir.Shape(list(every.shape)[1:])
    return state


def _squeeze(node: ir.Node, state: ir.Value, version: int, names: Names) -> ir.Value:
    base, like = f"{node.name}__last", node.outputs[0]
    if version < _SQUEEZE:
        return edits.add_node(node, "Squeeze", [state], names, base, {"axes": [0]}, like=like)
    axes = edits.constant(node, np.array([0]), names, f"{base}_axes")
    return edits.add_node(node, "Squeeze", [state, axes], names, base, like=like)
