"""How much of the arithmetic runs in integers, and why the rest does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import macs
from edgeq.graph.expose import expose_shapes
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.forecast import forecast
from edgeq.quantization.plan import NodeForm
from edgeq.runtime.kernels import INT8_COMPUTE, NBITS_COMPUTE
from edgeq.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from edgeq.quantization.plan import NodeDecision, QuantPlan
    from edgeq.runtime.kernels import ExecutedGraph
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample


_BYTE = 8


@dataclass(frozen=True, slots=True)
class FloatNode:
    """A compute node that does not run in integers.

    Attributes:
        name: Its name in the original model.
        op_type: Its operator.
        macs: Multiply-accumulates of one run; None where unknown.
        reason: Why.
    """

    name: str
    op_type: str
    macs: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where the multiply-accumulates of one run go.

    Attributes:
        int8: In 8-bit integer kernels.
        nbits: In kernels with block-wise integer weights.
        float_: In float.
        float_nodes: The nodes left float, in float16 or not, heaviest first.
        leftover_qdq: QuantizeLinear and DequantizeLinear nodes that run as such.
        boundary_crossings: Conversions between float and integers in one run.
        promised: Whether this is what the target profile promises, for a target that is another
            program; otherwise it was read from what onnxruntime runs.
        half: In nodes of float16; whether the machine has kernels for them is its own affair.
        int16: In integer kernels that read activations of 16 bits.
    """

    int8: int
    nbits: int
    float_: int
    float_nodes: tuple[FloatNode, ...]
    leftover_qdq: int
    boundary_crossings: int
    promised: bool = False
    half: int = 0
    int16: int = 0

    @property
    def total(self) -> int:
        """All multiply-accumulates."""
        return self.integer + self.half + self.float_

    @property
    def ratio(self) -> float:
        """The fraction in integers or float16; 1 for a model that multiplies nothing."""
        return (self.integer + self.half) / self.total if self.total else 1.0

    @property
    def integer(self) -> int:
        """Those in integers of any width."""
        return self.int8 + self.int16 + self.nbits


def count_macs(model: ir.Model, sample: Sample) -> dict[str, int | None]:
    """Multiply-accumulates per compute node when the model runs on ``sample``.

    Args:
        model: The prepared float model; not changed.
        sample: One sample; nodes in branches that it does not take count 0.

    Returns:
        Node name -> count; None where a shape cannot be known (bodies of Loop and Scan).
    """
    compute = [node for node in nodes(model) if macs.is_compute(node)]
    wanted = {
        value.name
        for node in compute
        for value in (*node.inputs[:4], *node.outputs[:1])
        if value is not None and value.name
    }
    shapes = value_shapes(model, sample, wanted)

    def shape_of(value: ir.Value) -> tuple[int, ...] | None:
        if value.const_value is not None:
            return tuple(int(d) for d in value.const_value.shape.numpy())
        return shapes.get(value.name or "")

    return {node_name(node): _count(node, shape_of) for node in compute}


def value_shapes(
    model: ir.Model, sample: Sample, wanted: Iterable[str]
) -> dict[str, tuple[int, ...]]:
    """Shapes that values have when the model runs on ``sample``.

    Args:
        model: The model; not changed.
        sample: One sample.
        wanted: Names of values; those in bodies of Loop and Scan, constants, and what is no tensor
            are left out.
    """
    exposed = expose_shapes(model, sorted(wanted))
    shapes: dict[str, tuple[int, ...]] = {name: array.shape for name, array in sample.items()}
    if exposed.outputs:
        results = Session(exposed.model, what="the model with its inner values").run(sample)
        for name, output in exposed.outputs.items():
            shapes[name] = tuple(results[output].tolist())
    return shapes


def _count(node: ir.Node, shape_of: macs.ShapeOf) -> int | None:
    out = shape_of(node.outputs[0])
    if out is not None and 0 in out:
        return 0
    return macs.count(node, shape_of)


def shares(macs: Mapping[str, int | None]) -> dict[str, float]:
    """The part, 0 to 1, of all multiply-accumulates that each node has."""
    total = max(1, sum(count or 0 for count in macs.values()))
    return {name: (count or 0) / total for name, count in macs.items()}


def measure(
    counted: Mapping[str, int | None],
    plan: QuantPlan | None,
    executed: ExecutedGraph,
    quantized: ir.Model,
) -> Coverage:
    """Compare what was planned with what onnxruntime runs.

    Args:
        counted: What :func:`count_macs` found.
        plan: What was asked for, with the reasons for nodes left float; None for a model that
            somebody else made.
        executed: The optimized graph of the candidate.
        quantized: The candidate.
    """
    decisions = {decision.node: decision for decision in plan.decisions} if plan else {}
    op_types = {node_name(node): node.op_type for node in nodes(quantized)}
    kernel_of = _kernels(executed, quantized)
    totals = {"int8": 0, "nbits": 0, "half": 0, "float": 0}
    floats = []
    for name, count in counted.items():
        kernel = kernel_of.get(name, "")
        kind = "int8" if kernel in INT8_COMPUTE else "nbits" if kernel in NBITS_COMPUTE else "float"
        if kind == "float" and _is_half(decisions.get(name)):
            kind = "half"
        totals[kind] += count or 0
        # Half precision is the aim of a scheme, and there needs no reason, or second best.
        is_told = kind == "float" or (kind == "half" and decisions[name].reason)
        if is_told and count != 0:
            floats.append(_float_node(name, count, decisions.get(name), kernel, op_types))
    floats.sort(key=lambda node: -(node.macs or 0))
    dynamic = sum(n.op_type.startswith("Dynamic") for n in executed.nodes)
    return Coverage(
        totals["int8"],
        totals["nbits"],
        totals["float"],
        tuple(floats),
        executed.leftover_qdq,
        executed.leftover_qdq + dynamic,
        half=totals["half"],
    )


def _is_half(decision: NodeDecision | None) -> bool:
    return decision is not None and decision.form is NodeForm.HALF


def promise(
    counted: Mapping[str, int | None], plan: QuantPlan, prepared: ir.Model, target: TargetProfile
) -> Coverage:
    """What the profile of a target promises that does not run here.

    Args:
        counted: What :func:`count_macs` found.
        plan: What was asked for.
        prepared: The float model that the plan is for.
        target: The target.
    """
    decisions = {decision.node: decision for decision in plan.decisions}
    rounded = frozenset(entry.value.name for entry in plan.activations)
    found = forecast(prepared, decisions, counted, target, rounded)
    left = tuple(FloatNode(n.node, n.op_type, n.macs, n.reason) for n in found.float_nodes)
    wide = target.activation.bits > _BYTE
    half = sum(count or 0 for name, count in counted.items() if _is_half(decisions.get(name)))
    return Coverage(
        0 if wide else found.int8, 0, found.float_ - half, left, 0, found.crossings, promised=True,
        half=half, int16=found.int8 if wide else 0,
    )  # fmt: skip


def _kernels(executed: ExecutedGraph, quantized: ir.Model) -> dict[str, str]:
    """Operator that runs, by the name of the compute node in the model.

    A node keeps its name, with a suffix, or can be told by the weight that only it reads.
    """
    by_name, by_constant = executed.by_original_name(), executed.by_constant()
    found = {name: node.op_type for name, node in by_name.items()}
    for node in nodes(quantized):
        if not node.name or found.get(node.name) in INT8_COMPUTE:
            continue
        for weight in _weights(node):
            readers = {reader.op_type for reader in by_constant.get(weight, ())}
            integer = readers & INT8_COMPUTE
            if integer and len(readers) == len(integer):
                found[node.name] = integer.pop()
    return found


def _weights(node: ir.Node) -> list[str]:
    """Names of the integer constants behind the second input of a compute node."""
    value = node.inputs[1] if macs.is_compute(node) and len(node.inputs) > 1 else None
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear" or producer.inputs[0] is None:
        return []
    return [producer.inputs[0].name or ""]


def _float_node(
    name: str,
    count: int | None,
    decision: NodeDecision | None,
    kernel: str,
    op_types: Mapping[str, str],
) -> FloatNode:
    if decision is None:
        ran = f"onnxruntime runs it as {kernel}" if kernel else "onnxruntime runs it in float"
        return FloatNode(name, op_types.get(name, kernel), count, ran)
    reason = decision.reason
    if decision.form in (NodeForm.STATIC, NodeForm.DYNAMIC, NodeForm.BLOCKS):
        ran = f"ran {kernel}" if kernel else "kept it"
        reason = f"quantized, but onnxruntime {ran} in float"
    return FloatNode(name, decision.op_type, count, reason)
