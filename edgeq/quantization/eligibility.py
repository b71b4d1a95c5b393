"""Which nodes the target could run in integers, and the reason for every one that it could not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import RecipeError, nearest
from edgeq.graph import constants, macs
from edgeq.graph.walk import bodies, node_name, path_to
from edgeq.graph.walk import nodes as graph_nodes
from edgeq.ops import RULES, OpRule, Role, rule_for
from edgeq.quantization.fitting import obstacle
from edgeq.quantization.padding import PADDED
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.quantization.saturating import RESPELLED
from edgeq.targets import Form, KernelRow, Placement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from edgeq.graph.walk import Body
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that the target can run in integers.

    Attributes:
        node: The node.
        rule: How its operator quantizes.
        row: The target's kernel.
        placement: When to use it; differs from the row's for a computed weight or on request.
        otherwise: The same with the next kernel that the node fits, for an activation function
            that nothing can absorb; None without one.
    """

    node: ir.Node
    rule: OpRule
    row: KernelRow
    placement: Placement
    otherwise: Candidate | None = None


def judged(
    model: ir.Model,
    nodes: Iterable[ir.Node],
    target: TargetProfile,
    recipe: Recipe,
    bridged: Collection[str] = (),
) -> dict[str, Candidate | str]:
    """What the target can run in integers, and why it cannot run the rest.

    Args:
        model: The prepared model.
        nodes: Its nodes.
        target: What can run in integers.
        recipe: The user's choices.
        bridged: Nodes to put into integers although the target calls them bridges.

    Returns:
        By node name, a candidate or the reason why it is none; nothing of nodes without any rule
        that do no counted computation.
    """
    owners = bodies(model)
    found = ((node_name(node), _judge(node, owners, target, recipe, bridged)) for node in nodes)
    return {name: verdict for name, verdict in found if verdict is not None}


def classify(
    nodes: Iterable[ir.Node],
    verdicts: Mapping[str, Candidate | str],
    excluded: Mapping[str, str],
) -> tuple[dict[str, Candidate], dict[str, NodeDecision]]:
    """Sort nodes into candidates and, with a reason, those that stay float.

    Args:
        nodes: Of the model.
        verdicts: Of :func:`judged`.
        excluded: Nodes to keep float, each with the reason.

    Returns:
        Candidates by node name, and the decisions already taken. Nodes without a verdict are in
        neither.
    """
    candidates: dict[str, Candidate] = {}
    decisions: dict[str, NodeDecision] = {}
    for node in nodes:
        name = node_name(node)
        verdict = verdicts.get(name)
        if isinstance(verdict, Candidate):
            verdict = excluded.get(name, verdict)
        if isinstance(verdict, Candidate):
            candidates[name] = verdict
        elif verdict is not None:
            decisions[name] = NodeDecision(name, node.op_type, NodeForm.FLOAT, verdict)
    return candidates, decisions


def bridges(model: ir.Model, target: TargetProfile) -> frozenset[str]:
    """Names of the nodes that the target can take as bridges between integer operators."""
    return frozenset(
        node_name(node)
        for node in graph_nodes(model)
        if any(row.placement is Placement.BRIDGE for row in target.rows(node.op_type))
    )


def require_rules(target: TargetProfile) -> None:
    """Make sure that every row of a target is about an operator that edgeq has a rule for.

    Raises:
        RecipeError: One is not, and the nearest operator is suggested; or it is to be put into
            other operators or padded, which edgeq cannot do for it.
    """
    known = {rule.op_type for rule in RULES}
    for row in target.kernels:
        if row.op_type not in known:
            raise RecipeError(
                f"edgeq has no rule for operator {row.op_type!r}",
                where=row.source or f"target {target.name}",
                remedy=nearest(row.op_type, known),
            )
        if row.respelled and row.op_type not in RESPELLED:
            raise RecipeError(
                f"edgeq cannot put {row.op_type} into other operators",
                where=row.source or f"target {target.name}",
                remedy=f"Say respelled = true of {', '.join(sorted(RESPELLED))} only",
            )
        if row.channel_multiple != 1 and (row.op_type not in PADDED or row.channel_multiple < 1):
            raise RecipeError(
                f"edgeq cannot pad channels of {row.op_type} to {row.channel_multiple}",
                where=row.source or f"target {target.name}",
                remedy=f"Give a positive channel_multiple to {', '.join(sorted(PADDED))} only",
            )


def _judge(
    node: ir.Node,
    owners: dict[ir.Graph, Body],
    target: TargetProfile,
    recipe: Recipe,
    bridged: Collection[str],
) -> Candidate | str | None:
    """A candidate, the reason why not, or None for a node that is none of our business."""
    rule, name = rule_for(node), node_name(node)
    if rule is None:
        return f"no integer kernel is known for {node.op_type}" if macs.is_compute(node) else None
    if recipe.excludes(name, node.op_type):
        return "excluded by the recipe"
    rows = target.rows(node.op_type)
    if not rows:
        return f"target {target.name} has no integer kernel for {node.op_type}"
    around = _body_around(node, owners, target)
    if around:
        return around
    asked = name in bridged or recipe.includes(name, node.op_type)
    verdicts = [_fit(node, rule, row, target, asked=asked) for row in rows]
    fitting = [verdict for verdict in verdicts if isinstance(verdict, Candidate)]
    if not fitting:
        return verdicts[0]
    return replace(fitting[0], otherwise=fitting[1] if len(fitting) > 1 else None)


def _fit(
    node: ir.Node, rule: OpRule, row: KernelRow, target: TargetProfile, *, asked: bool
) -> Candidate | str:
    """A candidate for this kernel, or the reason why not."""
    placement = _placement(node, rule, row)
    if placement is None:
        return _not_constant(node, rule)
    if placement in _RELUCTANT:
        if not asked:
            return f"the integer form of this {node.op_type} {_RELUCTANT[placement]}"
        placement = Placement.COMPUTE if macs.is_compute(node) else Placement.CARRY
    return obstacle(node, rule, row, target) or Candidate(node, rule, row, placement)


_RELUCTANT = {
    Placement.BRIDGE: "costs accuracy, and saves no time here",
    Placement.COSTLY: "is slower or less accurate than float",
}
"""Why an integer kernel is not used unasked."""


def _body_around(node: ir.Node, owners: dict[ir.Graph, Body], target: TargetProfile) -> str | None:
    """Why the graph that the node is in keeps it float; None when it does not."""
    if not isinstance(node.graph, ir.Graph):
        return "inside the body of a function, which runs once per iteration"
    for body in path_to(node.graph, owners):
        if not target.bodies:
            return f"inside a body of {body.node.op_type}, which the target does not take"
        if body.node.op_type != "If":
            return f"inside the body of {body.node.op_type}, which runs once per iteration"
    return None


def _not_constant(node: ir.Node, rule: OpRule) -> str:
    weights = [value for i, value in enumerate(node.inputs) if rule.role(i) is Role.WEIGHT]
    if any(value is not None and value.is_initializer() for value in weights):
        return "its weight is an input with a default value, which callers may replace"
    return "its second factor is computed, not constant"


def _placement(node: ir.Node, rule: OpRule, row: KernelRow) -> Placement | None:
    """The row's placement, or the one for a computed weight."""
    for index, value in enumerate(node.inputs):
        if rule.role(index) is Role.WEIGHT and not constants.is_constant(value):
            return row.computed_weight
    return row.placement


def is_dynamic_only(candidate: Candidate) -> bool:
    """Whether the target has no static kernel for it."""
    return candidate.row.form is Form.DYNAMIC
