"""Closeness layer by layer: where the candidate leaves the path of the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.calibration.inner_errors import InnerErrors
from edgeq.graph import macs, shapes
from edgeq.graph.beside import add_whole, settle
from edgeq.graph.meters import Meters
from edgeq.graph.walk import node_name, nodes, values
from edgeq.metrics.fidelity import MAX_DB
from edgeq.quantization.saturation import useful_bounds

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    import onnx_ir as ir

    from edgeq.graph.beside import Counterpart
    from edgeq.quantization.plan import QuantPlan
    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample


UNNOTICED_DB = 40.0
"""SQNR above which nothing that follows suffers: about that of 8 bits that are well used."""


@dataclass(frozen=True, slots=True)
class LayerFidelity:
    """The error at the output of one layer.

    Attributes:
        name: Name of the node.
        op_type: Its operator.
        sqnr_db: Ratio of the layer's float output to its difference from the same output in the
            quantized model, with all errors of the layers before it. What no reader of the output
            can tell apart, such as numbers below -3 before HardSwish, does not count.
        before_db: The lowest such ratio among the layers that it reads from, 200 for the first.
        alone_db: The ratio when this layer alone is quantized and what it reads is exact: its
            inputs, weights and output are rounded. None where nothing is, or nobody measured.
        cause: Why it is as low as it is, in a sentence; empty where nobody looked.
        remedy: What could be done about it.
    """

    name: str
    op_type: str
    sqnr_db: float
    before_db: float
    alone_db: float | None = None
    cause: str = ""
    remedy: str = ""

    @property
    def fall_db(self) -> float:
        """How much quality this layer itself loses; negative where errors average out.

        What is closer than :data:`UNNOTICED_DB` counts as that close: the first layer falls from
        exact numbers, always, and that says nothing.
        """
        return min(self.before_db, UNNOTICED_DB) - self.sqnr_db


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
        plan: What was decided about which node.
        samples: A few; layers that they do not reach are left out, as are those inside of loops.
        config: How the session is opened.

    Returns:
        In the order of the graph; layers whose Relu was absorbed are compared behind it.
    """
    wanted = {d.node: d.op_type for d in plan.decisions if d.op_type in macs.COMPUTE_OPS}
    host = prepared.clone()
    shapes.infer(host)
    makers = {node_name(node): node for node in nodes(prepared)}
    meters = Meters(host)
    known = values(prepared)
    for value, pair in add_whole(host, quantized).items():
        name, shown = node_behind(pair, makers), pair.read if pair.rounds else pair.made
        if name in wanted:
            meters.compare(name, pair.reference, shown, useful_bounds(known[value]))
    readings = meters.finish()
    settle(host)
    errors = InnerErrors(host, readings, config)
    for sample in samples:
        errors.add(sample)
    ratios = {str(key): found.sqnr_db for key, found in errors.take().items() if found.known}
    before = lowest_before(prepared, ratios)
    return tuple(
        LayerFidelity(name, wanted[name], ratios[name], low) for name, low in before.items()
    )


def node_behind(pair: Counterpart, makers: Container[str]) -> str:
    """The float model's node that an inner value stands for.

    Args:
        pair: The value and its counterpart in the quantized model.
        makers: Names of all nodes of the float model.

    Returns:
        The node of the name that the counterpart's has, which is the layer where a Relu behind it
        was absorbed; else the one that makes the value.
    """
    producer = pair.reference.producer()
    return pair.node if pair.node in makers or producer is None else node_name(producer)


def lowest_before(model: ir.Model, ratios: Mapping[str, float]) -> dict[str, float]:
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
