"""Fills in types and shapes that other passes decide by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import shapes
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    import onnx_ir as ir


def infer_shapes(model: ir.Model) -> Outcome:
    """Infer shapes inside the graph; what the model declares for its outputs stays as it is."""
    declared = [(v, v.shape, v.type) for v in (*model.graph.inputs, *model.graph.outputs)]
    learned = shapes.learn(model)
    for value, shape, kind in declared:
        value.shape, value.type = shape, kind
    declined = () if learned is not None else ("shapes could not be inferred",)
    return Outcome(declined=declined, learned=learned or 0)
