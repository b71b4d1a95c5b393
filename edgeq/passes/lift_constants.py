"""Turns Constant nodes into initializers of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import LiftConstantsToInitializersPass

from edgeq.graph import walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.passes.outcome import Answer


def lift_constants(model: ir.Model) -> Outcome:
    """Lift every Constant that is not itself an output of its graph."""
    before = _constants(model)
    reasons: list[Answer] = [_odd(n) for n in before]
    odd = [n for n, reason in zip(before, reasons, strict=True) if reason]
    # onnx-ir raises on a kind of constant that it does not know: those must not be in its way.
    kept = {n: n.op_type for n in odd}
    for node in kept:
        node.op_type = "Constant__kept"
    try:
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    finally:
        for node, op_type in kept.items():
            node.op_type = op_type
    lifted = len(before) - len(_constants(model))
    return Outcome.of([*reasons, *[True] * lifted])


def _constants(model: ir.Model) -> list[ir.Node]:
    return [n for n in walk.nodes(model) if is_op(n, "Constant")]


def _odd(node: ir.Node) -> Answer:
    """Why a Constant cannot become an initializer."""
    names = sorted(node.attributes)
    if len(names) != 1 or "sparse" in names[0]:
        return f"{where(node)}: a sparse constant stays a node"
    if node.attributes[names[0]].is_ref():
        return f"{where(node)}: its value is a parameter of a function"
    return False
