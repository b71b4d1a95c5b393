"""Turns Constant nodes into initializers of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer


def lift_constants(model: ir.Model) -> Outcome:
    """Lift every Constant that is not itself an output of its graph."""
    return Outcome.of([_lift(n) for n in walk.nodes(model) if is_op(n, "Constant")])


def _lift(node: ir.Node) -> Answer:
    output = node.outputs[0]
    if output.is_graph_output():
        return False
    if any(a.is_ref() for a in node.attributes.values()):
        return f"{where(node)}: its value is a parameter of a function"
    if "sparse_value" in node.attributes:
        return f"{where(node)}: a sparse constant stays a node"
    tensor = constants.tensor(output)
    if tensor is None or not output.name:
        return f"{where(node)}: its value cannot be read"
    value = ir.Value(
        name=output.name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(tensor.shape.numpy()),
        const_value=tensor,
        metadata_props=dict(output.metadata_props),
    )
    edits.graph_of(node).register_initializer(value)
    rewire.take_place(output, value)
    rewire.remove(node)
    return True
