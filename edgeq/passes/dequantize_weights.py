"""Reads weights that are stored quantized as the float numbers they stand for.

For quantizing a model anew only: other models keep the small form that they were given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import constants, walk
from edgeq.graph.walk import is_op
from edgeq.passes.fold_constants import compute_constants
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    import onnx_ir as ir

_OP = "DequantizeLinear"


def dequantize_weights(model: ir.Model) -> Outcome:
    """Compute DequantizeLinear on constants."""
    stored = [n for n in walk.nodes(model) if is_op(n, _OP) and constants.is_constant(n.inputs[0])]
    if not stored:
        return Outcome()
    answers = compute_constants(model, also=(_OP,))
    count = sum(node.graph is None for node in stored)
    note = f"{count} weights were stored quantized and are float now: requantizing adds to the loss"
    return Outcome.of(answers, [note] if count else [])
