"""Replaces calls of the model's own functions by the functions' bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from edgeq.graph import walk
from edgeq.passes.outcome import Outcome

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer


def inline_functions(model: ir.Model) -> Outcome:
    """Inline every function that can be."""
    if not model.functions:
        return Outcome()
    reasons = {f.identifier(): _why_not(f, model) for f in model.functions.values()}
    calls = _calls(model)
    try:
        InlinePass(lambda f: reasons[f.identifier()] is None)(model)
    except ir.passes.PreconditionError as error:
        return Outcome(declined=(f"functions call each other in a circle: {error}",))
    inlined = calls - _calls(model)
    answers: list[Answer] = [r for r in reasons.values() if r is not None]
    return Outcome.of([*answers, *[True] * inlined])


def _calls(model: ir.Model) -> int:
    """Calls still in the graph; those that inlining brings in count as well."""
    known = set(model.functions)
    return sum(node.op_identifier() in known for node in walk.nodes(model))


def _why_not(function: ir.Function, model: ir.Model) -> str | None:
    """Why a function cannot be inlined; None when it can."""
    for domain, version in function.opset_imports.items():
        wanted = model.opset_imports.get(domain, version)
        if wanted != version:
            return f"function {function.name} uses {domain or 'ai.onnx'} {version}, not {wanted}"
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(a.type in graphs for a in function.attributes.values()):
        return f"function {function.name} takes a graph as attribute"
    if any(output is None or output in function.inputs for output in function.outputs):
        return f"function {function.name} hands an input through"
    return None
