"""What is left float beside integers, in float16: computed in it, or stored in it.

A target that computes in float16 does so with everything that is not in integers, between Q/DQ
pairs of float16 as well. Elsewhere the weights of such layers are stored in it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.graph import macs
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.half import convert_to_half
from edgeq.quantization.narrow_weights import store_as_float16
from edgeq.quantization.plan import NodeDecision, NodeForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.targets import TargetProfile

_COMPUTED = "it computes in float16"


def left_in_half(
    model: ir.Model, decisions: Sequence[NodeDecision], target: TargetProfile
) -> tuple[NodeDecision, ...]:
    """Bring what a quantized model leaves float into float16, where that holds its numbers.

    Args:
        model: The quantized model; changed in place. Its interface stays float32.
        decisions: What became of its nodes.
        target: What it shall run on.

    Returns:
        The decisions, with those on nodes in float added to.
    """
    found = _found(model, decisions, target)
    known = {decision.node for decision in decisions}
    joined = [_joined(decision, found.get(decision.node)) for decision in decisions]
    compute = {node_name(node) for node in nodes(model) if macs.is_compute(node)}
    further = [
        replace(each, reason=each.reason or _COMPUTED)
        for name, each in found.items()
        if name in compute - known and each.form is not NodeForm.FLOAT
    ]
    return (*joined, *further)


def float_notes(decisions: Sequence[NodeDecision]) -> tuple[str, ...]:
    """What of decisions to say of nodes in float16, in sentences."""
    computed = sum(decision.form is NodeForm.HALF for decision in decisions)
    stored = sum(decision.form is NodeForm.STORED for decision in decisions)
    found = (
        (computed, "{} nodes that are left float compute in float16"),
        (stored, "The weights of {} nodes that are left float are stored as float16"),
    )
    return tuple(told.format(count) for count, told in found if count)


def _found(
    model: ir.Model, decisions: Sequence[NodeDecision], target: TargetProfile
) -> dict[str, NodeDecision]:
    if not target.half_kernels:
        left = (NodeForm.FLOAT, NodeForm.ABSORBED)
        inside = {decision.node for decision in decisions if decision.form not in left}
        return {each.node: each for each in store_as_float16(model, inside)}

    def objection(node: ir.Node) -> str:
        if target.computes_half(node.op_type):
            return ""
        return f"target {target.name} leaves it to a fallback, which may not compute float16"

    return {each.node: each for each in convert_to_half(model, objection)}


def _joined(decision: NodeDecision, further: NodeDecision | None) -> NodeDecision:
    """A decision with what became of the node in float."""
    if decision.form is not NodeForm.FLOAT or further is None:
        return decision
    told = further.reason or _COMPUTED
    if further.form is NodeForm.FLOAT:
        told = f"float32, not float16: {told}"
    reason = "; ".join(filter(None, (decision.reason, told)))
    return replace(decision, form=further.form, reason=reason)
