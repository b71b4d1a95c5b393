"""Lets a Gather keep the axis that an Unsqueeze behind it puts back.

One element taken with a scalar index drops its axis, taken with a vector of one index it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import rank
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, sole_reader

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer


def merge_gathers(model: ir.Model) -> Outcome:
    """Merge each Gather of one element with the Unsqueeze that only it feeds."""
    names = rewire.Names(model)
    nodes = [n for n in walk.nodes(model) if is_op(n, "Gather")]
    return Outcome.of(_merge(node, names) for node in nodes)


def _merge(node: ir.Node, names: Names) -> Answer:
    use = sole_reader(node.outputs[0])
    index = constants.array(node.inputs[1])
    if use is None or not is_op(use.node, "Unsqueeze") or use.index != 0 or index is None:
        return False
    data_rank, axes = rank(node.inputs[0]), ints(use.node, 1, "axes")
    if index.ndim != 0 or data_rank is None or axes is None or len(axes) != 1:
        return False
    # The axis is counted in the Unsqueeze's result, which has as many as the data.
    axis = node.attributes.get_int("axis", 0) % data_rank
    if axes[0] % data_rank != axis:
        return False
    kept = edits.constant(node, index.reshape(1), names, f"{node.name}__index")
    inputs, output = [node.inputs[0], kept], use.node.outputs[0]
    base = f"{node.name}__kept"
    new = edits.add_node(node, "Gather", inputs, names, base, {"axis": axis}, like=output)
    rewire.take_place(output, new)
    edits.drop([use.node, node])
    return True
