"""Raises the opset of models with spelled-out normalizations to the one that has an operator.

For targets only whose runtime is known to load it: a model for nobody in particular keeps its
opset, because it may have to run on something old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.errors import EdgeqError
from edgeq.graph import opset as opsets
from edgeq.graph import walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset

if TYPE_CHECKING:
    import onnx_ir as ir

NORMALIZATIONS: Final = 17
"""The opset in which LayerNormalization came."""


def raise_opset(model: ir.Model) -> Outcome:
    """Raise the opset to 17, if the model may spell a normalization."""
    before = opset(model)
    if before >= NORMALIZATIONS or not _spells_normalization(model):
        return Outcome()
    try:
        raised = opsets.upgrade(model, NORMALIZATIONS)
    except EdgeqError as error:
        return Outcome(declined=(f"the opset stays {before}: {error}",))
    model.graph = raised.graph
    model.functions.clear()
    model.functions.update(raised.functions)
    model.ir_version = raised.ir_version
    return Outcome(1, notes=(f"The opset is {NORMALIZATIONS} instead of {before}",))


def _spells_normalization(model: ir.Model) -> bool:
    found = walk.nodes(model)
    return all(
        any(is_op(node, *ops) for node in found)
        for ops in (("ReduceMean",), ("Sqrt", "Pow", "Reciprocal"))
    )
