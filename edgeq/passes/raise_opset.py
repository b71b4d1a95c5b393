"""Raises the opset of models that spell out what a newer one has an operator for.

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
from edgeq.passes.recognize_hard_swish import SINCE as HARD_SWISH
from edgeq.passes.recognize_hard_swish import product

if TYPE_CHECKING:
    import onnx_ir as ir

NORMALIZATIONS: Final = 17
"""The opset in which LayerNormalization came."""


def raise_opset(model: ir.Model) -> Outcome:
    """Raise the opset to 17, if the model may spell a normalization."""
    return _raise(model, NORMALIZATIONS) if _spells_normalization(model) else Outcome()


def raise_opset_for_hard_swish(model: ir.Model) -> Outcome:
    """Raise the opset to 14, if the model has a gate that is hard-swish with its product."""
    spelled = any(product(node) is not None for node in walk.nodes(model))
    return _raise(model, HARD_SWISH) if spelled else Outcome()


def _raise(model: ir.Model, version: int) -> Outcome:
    before = opset(model)
    if before >= version:
        return Outcome()
    try:
        raised = opsets.upgrade(model, version)
    except EdgeqError as error:
        return Outcome(declined=(f"the opset stays {before}: {error}",))
    model.graph = raised.graph
    model.functions.clear()
    model.functions.update(raised.functions)
    model.ir_version = raised.ir_version
    return Outcome(1, notes=(f"The opset is {version} instead of {before}",))


def _spells_normalization(model: ir.Model) -> bool:
    found = walk.nodes(model)
    return all(
        any(is_op(node, *ops) for node in found)
        for ops in (("ReduceMean",), ("Sqrt", "Pow", "Reciprocal"))
    )
