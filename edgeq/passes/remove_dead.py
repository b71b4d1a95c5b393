"""Removes nodes whose results nobody reads, and constants that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeq.graph import rewire, walk
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    import onnx_ir as ir


def remove_dead(model: ir.Model) -> Outcome:
    """Remove dead code, in bodies as well."""
    before = walk.nodes(model)
    owners = [n for n in before if next(walk.subgraphs(n), None) is not None]
    dropped = 0
    while True:
        RemoveUnusedNodesPass()(model)
        dropped += rewire.drop_unused_initializers(model)
        removed = [n for n in owners if n.graph is None]
        if not removed:
            return Outcome(len(before) - len(walk.nodes(model)) + dropped)
        # What only their bodies read is dead now, too.
        for node in removed:
            rewire.release(node)
        owners = [n for n in owners if n.graph is not None]
