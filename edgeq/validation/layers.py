"""Closeness layer by layer: where the candidate leaves the path of the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import macs
from edgeq.graph.expose import expose
from edgeq.graph.walk import node_name, nodes, values
from edgeq.metrics.fidelity import MAX_DB
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample


@dataclass(frozen=True, slots=True)
class LayerFidelity:
    """Accumulated error at the output of one layer.

    Attributes:
        name: Name of the node.
        op_type: Its operator.
        sqnr_db: Ratio of the layer's float output to its difference from the same output in the
            quantized model, with all errors of the layers before it.
        before_db: The lowest such ratio among the layers that it reads from, 200 for the first.
    """

    name: str
    op_type: str
    sqnr_db: float
    before_db: float

    @property
    def fall_db(self) -> float:
        """How much quality this layer itself loses; negative where errors average out."""
        return self.before_db - self.sqnr_db


def compare_layers(
    prepared: ir.Model,
    quantized: ir.Model,
    plan: QuantPlan,
    samples: Iterable[Sample],
    config: SessionConfig | None = None,
) -> tuple[LayerFidelity, ...]:
    """Run both models side by side and compare the output of every compute layer.

    Args:
        prepared: The float model that was quantized.
        quantized: What came out.
        plan: How; layers whose Relu was absorbed are compared behind it.
        samples: A few; layers that they do not reach are left out.
        config: How the sessions are opened.

    Returns:
        In the order of the graph.
    """
    produced = {entry.value.name for entry in plan.activations if entry.readers is None}
    dropped = set(plan.dropped)
    wanted = {}
    for node in nodes(prepared):
        if macs.is_compute(node):
            wanted[_behind(node.outputs[0], dropped)] = node
    there = values(quantized)
    pairs = {
        node_name(node): (value, f"{value}_dequantized" if value in produced else value)
        for value, node in wanted.items()
    }
    pairs = {name: pair for name, pair in pairs.items() if pair[1] in there or pair[0] in there}
    return _run(prepared, quantized, pairs, wanted, samples, config)


def _behind(value: ir.Value, dropped: set[str]) -> str:
    """Name of the value behind the dropped nodes that follow."""
    for use in value.uses():
        if use.node.name in dropped:
            return _behind(use.node.outputs[0], dropped)
    return value.name or ""


def _run(
    prepared: ir.Model,
    quantized: ir.Model,
    pairs: dict[str, tuple[str, str]],
    wanted: dict[str, ir.Node],
    samples: Iterable[Sample],
    config: SessionConfig | None,
) -> tuple[LayerFidelity, ...]:
    there = values(quantized)
    # The dequantized side of a graph output carries the name of the output itself.
    pairs = {n: (here, dq if dq in there else here) for n, (here, dq) in pairs.items()}
    left = expose(prepared, [here for here, _ in pairs.values()], keep_outputs=False)
    right = expose(quantized, [dq for _, dq in pairs.values()], keep_outputs=False)
    both = {
        name: (left.outputs[here], right.outputs[dq])
        for name, (here, dq) in pairs.items()
        if here in left.outputs and dq in right.outputs
    }
    if not both:
        return ()
    op_types = {node_name(node): node.op_type for node in wanted.values()}
    found = compare(Session(left.model, config), Session(right.model, config), samples, both)
    ratios = {name: fidelity.sqnr_db for name, fidelity in found.items()}
    before = _before(prepared, ratios)
    return tuple(
        LayerFidelity(name, op_types[name], ratio, before[name]) for name, ratio in ratios.items()
    )


def _before(model: ir.Model, ratios: dict[str, float]) -> dict[str, float]:
    """Per measured layer the lowest ratio among the measured layers that it reads from."""
    level: dict[ir.Value, float] = {}
    before = {}
    for node in nodes(model):
        read = [level[value] for value in node.inputs if value is not None and value in level]
        lowest = min(read, default=MAX_DB)
        name = node_name(node)
        if name in ratios:
            before[name] = lowest
        for value in node.outputs:
            level[value] = ratios.get(name, lowest)
    return before
