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
    before = len(walk.nodes(model))
    RemoveUnusedNodesPass()(model)
    dropped = rewire.drop_unused_initializers(model)
    return Outcome(before - len(walk.nodes(model)) + dropped)
