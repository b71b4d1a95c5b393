"""What decisions mean for a run on the target: integer arithmetic, regions, borders, partitions.

Pure, and before any work: needs neither samples nor a runtime. What really runs can only be read
where the target runs (:mod:`edgeq.validation.coverage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import constants, macs
from edgeq.graph.walk import node_name, nodes
from edgeq.ops import Role, rule_for
from edgeq.quantization.fitting import all_static
from edgeq.quantization.plan import NodeForm

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quantization.plan import NodeDecision
    from edgeq.targets import TargetProfile

_INTEGER = (NodeForm.STATIC, NodeForm.ABSORBED)
_NO_DECISION = "edgeq has no rule for it"


@dataclass(frozen=True, slots=True)
class LeftFloat:
    """A compute node that would not run in integers.

    Attributes:
        node: Its name.
        op_type: Its operator.
        macs: Multiply-accumulates of one run; None where unknown.
        reason: Why.
    """

    node: str
    op_type: str
    macs: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would run where.

    Attributes:
        int8: Multiply-accumulates in integers.
        float_: Multiply-accumulates in float.
        float_nodes: Compute nodes left float, heaviest first.
        integer_regions: Groups of nodes that hand integers to each other.
        float_regions: Groups of float nodes that hand each other values.
        crossings: Conversions between float and integers in one run.
        partitions: Pieces that the target runs between pieces of its fallback; None where it runs
            the whole model.
        on_fallback: How many nodes the fallback runs.
    """

    int8: int
    float_: int
    float_nodes: tuple[LeftFloat, ...]
    integer_regions: int
    float_regions: int
    crossings: int
    partitions: int | None
    on_fallback: int

    @property
    def ratio(self) -> float:
        """The fraction of the arithmetic in integers; 1 for a model that multiplies nothing."""
        total = self.int8 + self.float_
        return self.int8 / total if total else 1.0


def forecast(
    model: ir.Model,
    decisions: Mapping[str, NodeDecision],
    counted: Mapping[str, int | None],
    target: TargetProfile,
    rounded: Container[str],
) -> Forecast:
    """Foretell a run.

    Args:
        model: The prepared model; not changed.
        decisions: What becomes of its nodes.
        counted: Multiply-accumulates per compute node.
        target: What it shall run on.
        rounded: Names of the values that carry a Q/DQ pair.
    """
    everything = [node for node in nodes(model) if node.op_type != "Constant"]
    forms = {node: _form(node, decisions) for node in everything}
    integer = [node for node in everything if forms[node] in _INTEGER]
    other = [node for node in everything if forms[node] not in _INTEGER]
    inside = {n for n, d in decisions.items() if d.form in (NodeForm.STATIC, NodeForm.DYNAMIC)}
    left = [
        _left(node, decisions, counted)
        for node in everything
        if macs.is_compute(node) and node_name(node) not in inside
    ]
    left.sort(key=lambda each: -(each.macs or 0))
    pieces, outside = _partitions(everything, forms, decisions, target)
    return Forecast(
        int8=sum(count or 0 for name, count in counted.items() if name in inside),
        float_=sum(count or 0 for name, count in counted.items() if name not in inside),
        float_nodes=tuple(left),
        integer_regions=_groups(integer),
        float_regions=_groups(other),
        crossings=_crossings(everything, forms, model, rounded),
        partitions=pieces,
        on_fallback=outside,
    )


def _form(node: ir.Node, decisions: Mapping[str, NodeDecision]) -> NodeForm:
    decision = decisions.get(node_name(node))
    return NodeForm.FLOAT if decision is None else decision.form


def _left(
    node: ir.Node, decisions: Mapping[str, NodeDecision], counted: Mapping[str, int | None]
) -> LeftFloat:
    name = node_name(node)
    decision = decisions.get(name)
    reason = _NO_DECISION if decision is None else decision.reason
    return LeftFloat(name, node.op_type, counted.get(name), reason)


def _groups(members: Sequence[ir.Node]) -> int:
    """How many groups the nodes fall into that hand values to each other."""
    leader = {node: node for node in members}

    def find(node: ir.Node) -> ir.Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for node in members:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer in leader and producer is not None:
                leader[find(node)] = find(producer)
    return sum(leader[node] is node for node in members)


def _crossings(
    everything: Sequence[ir.Node],
    forms: Mapping[ir.Node, NodeForm],
    model: ir.Model,
    rounded: Container[str],
) -> int:
    """Values that are turned into integers or back, and inputs of nodes that do so themselves.

    Each float reader of integers has a conversion of its own: runtimes give it one.
    """

    def made(value: ir.Value) -> bool:
        """Whether the value is made in integers: some kernels read them and write floats."""
        producer = value.producer()
        known = producer is not None and forms.get(producer) in _INTEGER
        return known and value.name in rounded

    into: set[ir.Value] = set()
    back: set[tuple[ir.Value, ir.Node | None]] = {
        (value, None) for value in model.graph.outputs if made(value)
    }
    for node in everything:
        for index, value in enumerate(node.inputs):
            if value is None or constants.is_constant(value):
                continue
            if forms[node] not in _INTEGER and made(value):
                back.add((value, node))
            elif forms[node] in _INTEGER and value.name in rounded and not made(value):
                into |= {value} if _is_read(node, index) else set()
    return len(into) + len(back) + sum(form is NodeForm.DYNAMIC for form in forms.values())


def _is_read(node: ir.Node, index: int) -> bool:
    rule = rule_for(node)
    return rule is not None and rule.role(index) in (Role.ACTIVATION, Role.WEIGHT)


def _partitions(
    everything: Sequence[ir.Node],
    forms: Mapping[ir.Node, NodeForm],
    decisions: Mapping[str, NodeDecision],
    target: TargetProfile,
) -> tuple[int | None, int]:
    """Pieces of the target's own, and how many nodes its fallback runs.

    A node belongs to the first piece that it can: behind all pieces that it waits for, as runtimes
    partition (onnxruntime/core/providers/partitioning_utils.cc).
    """
    if target.float_operators is None:
        return None, 0
    depth: dict[ir.Node, int] = {}
    taken = {node: _takes(node, forms[node], decisions, target) for node in everything}
    for node in everything:
        before = [v.producer() for v in node.inputs if v is not None]
        depth[node] = max(
            (depth[p] + (taken[p] != taken[node]) for p in before if p is not None and p in depth),
            default=0 if taken[node] else 1,
        )
    pieces = {depth[node] for node in everything if taken[node]}
    return len(pieces), sum(not each for each in taken.values())


def _takes(
    node: ir.Node,
    form: NodeForm,
    decisions: Mapping[str, NodeDecision],
    target: TargetProfile,
) -> bool:
    """Whether the target runs the node itself."""
    if form is NodeForm.FLOAT:
        if not target.dynamic_shapes and not all_static(node):
            return False
        return node.domain in ("", "ai.onnx") and node.op_type in (target.float_operators or ())
    decision = decisions[node_name(node)]
    return not decision.provider
