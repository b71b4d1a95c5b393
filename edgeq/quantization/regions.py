"""Which candidates form integer regions, and where a region begins and ends.

Compute operators (Conv, MatMul, Gemm) are the reason to quantize. Operators that are merely cheap
in integers (Add, pools, data movement) join only where every activation they read is in integers
anyway and an integer operator reads what they write: otherwise they would add conversions, and
rounding, for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import constants
from edgeq.graph.walk import is_op, name_of, node_name
from edgeq.ops import Constraint, Role
from edgeq.quantization.eligibility import Candidate, is_dynamic_only
from edgeq.quantization.plan import NodeForm
from edgeq.targets import Placement

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.targets import TargetProfile


_JOINING = (Placement.ABSORBED, Placement.FUSED)


@dataclass(frozen=True, slots=True)
class Regions:
    """The outcome of region growing.

    Attributes:
        static: Names of nodes that run on integer inputs.
        dynamic: Names of nodes that quantize their inputs while running.
        absorbed: Relu or Clip node -> the node that absorbs it.
        fused: Relu or Clip node -> the node that it is computed with; it stays in the graph.
        produced: Names of values that integer nodes write.
    """

    static: frozenset[str]
    dynamic: frozenset[str]
    absorbed: dict[str, str]
    fused: dict[str, str]
    produced: frozenset[str]

    def form_of(self, candidate: Candidate) -> tuple[NodeForm, str]:
        """How a candidate runs, and the reason where it is not the obvious one."""
        name = node_name(candidate.node)
        if name in self.static:
            return NodeForm.STATIC, ""
        if name in self.absorbed:
            return NodeForm.ABSORBED, f"the quantized range of {self.absorbed[name]} does its work"
        if name in self.fused:
            return NodeForm.ABSORBED, f"computed together with {self.fused[name]}"
        if name in self.dynamic:
            reason = "" if is_dynamic_only(candidate) else "its input comes from float operators"
            return NodeForm.DYNAMIC, reason
        return NodeForm.FLOAT, "its neighbours are float: Q/DQ around it would only cost"

    def quantized_outputs(self, candidate: Candidate) -> list[ir.Value]:
        """The outputs of a static node, behind what it absorbs, that carry a Q/DQ pair."""
        return [v for v in _outputs(candidate, self._joined) if name_of(v) in self.produced]

    @property
    def _joined(self) -> dict[str, str]:
        return {**self.absorbed, **self.fused}


def grow(candidates: dict[str, Candidate], target: TargetProfile) -> Regions:
    """Find the largest consistent set of integer nodes.

    Starts with every candidate and takes out what does not belong, until nothing changes; each
    round can only shrink the set, so it ends.

    Args:
        candidates: What may run in integers; nodes that nothing absorbs get their other kernel.
        target: What they run on.
    """
    joined = _join(candidates, target)
    for name, candidate in candidates.items():
        if candidate.placement in _JOINING and name not in joined and candidate.otherwise:
            candidates[name] = candidate.otherwise
    compute = {n for n, c in candidates.items() if c.placement is Placement.COMPUTE}
    dynamic = {n for n in compute if is_dynamic_only(candidates[n])}
    static = {n for n in candidates if n not in joined and n not in dynamic}
    static -= {n for n in static if candidates[n].placement in _JOINING}
    while True:
        joining = {name: by for name, by in joined.items() if by in static}
        # ArgMax takes integers but makes none: it is no reason to round what it reads.
        wanted = _read_by(candidates, {n for n in static if candidates[n].rule.outputs})
        produced = _produced(candidates, static, joining, wanted)
        anchored = produced | _read_by(candidates, static & compute)
        lost = {
            name
            for name in static
            if not _belongs(candidates[name], wanted, produced, anchored, joining)
        }
        if not lost:
            break
        static -= lost
        dynamic |= lost & compute
    joining = {
        name: by
        for name, by in joining.items()
        if name_of(_behind(candidates[name].node.outputs[0], joining)) in produced
    }
    dropped = {n: by for n, by in joining.items() if candidates[n].placement is Placement.ABSORBED}
    fused = {n: by for n, by in joining.items() if n not in dropped}
    return Regions(frozenset(static), frozenset(dynamic), dropped, fused, frozenset(produced))


def _read_by(candidates: dict[str, Candidate], static: set[str]) -> set[str]:
    """Values that the named nodes read in integers."""
    return {name_of(v) for n in static for v in _activations(candidates[n])}


def _produced(
    candidates: dict[str, Candidate],
    static: set[str],
    absorbed: dict[str, str],
    wanted: set[str],
) -> set[str]:
    """Values that static nodes write in integers."""
    found = set()
    for name in static:
        candidate = candidates[name]
        needed = candidate.row.needs_quantized_output
        outputs = _outputs(candidate, absorbed)
        found |= {name_of(v) for v in outputs if needed or name_of(v) in wanted}
    return found


def _belongs(
    candidate: Candidate,
    wanted: set[str],
    produced: set[str],
    anchored: set[str],
    absorbed: dict[str, str],
) -> bool:
    """Whether a static node may stay static.

    ``anchored`` are the values in integers whatever this node does: written by an integer node, or
    read by a compute node.
    """
    inputs = [name_of(v) for v in _activations(candidate)]
    if candidate.placement is Placement.COMPUTE:
        return not _may_be_dynamic(candidate) or all(v in produced for v in inputs)
    if not inputs or not all(v in anchored for v in inputs):
        return False
    outputs = _outputs(candidate, absorbed)
    return not candidate.row.needs_quantized_output or any(name_of(v) in wanted for v in outputs)


def _may_be_dynamic(candidate: Candidate) -> bool:
    """Whether the node could quantize its input while running: its weight must be constant."""
    return candidate.row.dynamic_on_float and all(
        constants.is_constant(value)
        for index, value in enumerate(candidate.node.inputs)
        if candidate.rule.role(index) is Role.WEIGHT
    )


def _activations(candidate: Candidate) -> list[ir.Value]:
    """What the node reads and calibration has to range: activations and computed weights."""
    return [
        value
        for index, value in enumerate(candidate.node.inputs)
        if value is not None
        and candidate.rule.role(index) in (Role.ACTIVATION, Role.WEIGHT)
        and not constants.is_constant(value)
    ]


def _outputs(candidate: Candidate, absorbed: dict[str, str]) -> list[ir.Value]:
    """The outputs that carry quantized values, each behind the Relu or Clip it absorbs."""
    outputs = list(candidate.node.outputs)
    if candidate.rule.outputs >= 0:
        outputs = outputs[: candidate.rule.outputs]
    return [_behind(value, absorbed) for value in outputs if value.name]


def _behind(value: ir.Value, absorbed: dict[str, str]) -> ir.Value:
    uses = value.uses()
    if len(uses) == 1:
        node = next(iter(uses)).node
        if node.name in absorbed:
            return _behind(node.outputs[0], absorbed)
    return value


def _join(candidates: dict[str, Candidate], target: TargetProfile) -> dict[str, str]:
    """Relu and Clip nodes that directly and alone follow a node which takes them over."""
    willing = {n: c for n, c in candidates.items() if _may_join(c, target)}
    found = {name: _joiner(c.node, candidates, willing) for name, c in willing.items()}
    return {name: by for name, by in found.items() if by is not None}


def _may_join(candidate: Candidate, target: TargetProfile) -> bool:
    """A range around zero cannot do the work of a Relu: with symmetric activations none does."""
    if candidate.placement is Placement.ABSORBED:
        return not target.activation_symmetric and _expressible(candidate.node)
    return candidate.placement is Placement.FUSED


def _joiner(
    node: ir.Node, candidates: dict[str, Candidate], willing: dict[str, Candidate]
) -> str | None:
    """The node with whose quantized output ``node`` would be done."""
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    if value is None or producer is None or producer.name not in candidates:
        return None
    if len(value.uses()) != 1 or value.is_graph_output() or producer.graph is not node.graph:
        return None
    if producer.name in willing:
        return _joiner(producer, candidates, willing)
    candidate = candidates[producer.name]
    arithmetic = candidate.placement in (Placement.COMPUTE, Placement.CARRY)
    free = candidate.rule.output is Constraint.NONE and not is_dynamic_only(candidate)
    return producer.name if arithmetic and free else None


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """The constant bounds of a Relu or Clip; None when a bound is computed."""
    if is_op(node, "Relu"):
        return 0.0, math.inf
    bounds = []
    for index, missing in ((1, -math.inf), (2, math.inf)):
        value = node.inputs[index] if len(node.inputs) > index else None
        bound = missing if value is None else constants.scalar(value)
        if bound is None:
            return None
        bounds.append(bound)
    return bounds[0], bounds[1]


def _expressible(node: ir.Node) -> bool:
    """A quantized range always contains zero, so only bounds around zero can be expressed."""
    bounds = clip_bounds(node)
    return bounds is not None and bounds[0] <= 0.0 <= bounds[1] and bounds[0] < bounds[1]
