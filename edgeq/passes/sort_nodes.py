"""Puts every node behind the nodes it reads from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import walk
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    import onnx_ir as ir


def sort_nodes(model: ir.Model) -> Outcome:
    """Sort the graph and its bodies; a graph that is in order stays as it is."""
    before = walk.nodes(model)
    seen: set[ir.Node] = set()
    for node in before:
        late = [v.producer() for v in node.inputs if v is not None and v.producer() is not None]
        if any(producer not in seen for producer in late):
            model.graph.sort()
            break
        seen.add(node)
    moved = zip(before, walk.nodes(model), strict=True)
    return Outcome(sum(old is not new for old, new in moved))
