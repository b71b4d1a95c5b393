"""Leaves out initial states of recurrent nodes that are zeros: so they are when left out.

Exporters make them in the graph, because their batch size differs from run to run: Shape, Gather,
Concat, ConstantOfShape, Expand (ONNX operators LSTM, GRU and RNN: initial_h, initial_c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, walk
from edgeq.graph.walk import MICROSOFT, is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import given

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.passes.outcome import Answer

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Operator -> the inputs that are its initial states."""

_DYNAMIC = "DynamicQuantizeLSTM"
"""onnxruntime's operator has the states where LSTM has them."""

_MOVES = ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Tile",
          "Transpose", "Unsqueeze", "Gather")  # fmt: skip
"""Operators that make zeros of zeros, whatever else they read."""

_DEPTH = 8


def remove_zero_states(model: ir.Model) -> Outcome:
    """Leave initial states out that are zeros."""
    return Outcome.of([_leave_out(node, i) for node in walk.nodes(model) for i in _states(node)])


def _states(node: ir.Node) -> tuple[int, ...]:
    if node.domain == MICROSOFT and node.op_type == _DYNAMIC:
        return _STATES["LSTM"]
    return _STATES.get(node.op_type, ()) if is_op(node, *_STATES) else ()


def _leave_out(node: ir.Node, index: int) -> Answer:
    if not given(node, index) or not _is_zeros(node.inputs[index], _DEPTH):
        return False
    node.replace_input_with(index, None)
    return True


def _is_zeros(value: ir.Value | None, depth: int) -> bool:
    """Whether every element is 0, for what is a constant or made of one by moving it."""
    if value is None or depth == 0:
        return False
    tensor = constants.tensor(value)
    if tensor is not None:
        return tensor.size > 0 and not np.any(tensor.numpy())
    node = value.producer()
    if node is None or not node.inputs:
        return False
    if is_op(node, "ConstantOfShape"):
        content = node.attributes.get("value")
        return content is None or not np.any(content.as_tensor().numpy())
    if is_op(node, "Concat"):
        return all(_is_zeros(v, depth - 1) for v in node.inputs)
    return is_op(node, *_MOVES) and _is_zeros(node.inputs[0], depth - 1)
