"""Closeness layer by layer: where the candidate leaves the path of the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph.walk import node_name, nodes
from edgeq.metrics.fidelity import MAX_DB

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import onnx_ir as ir

    from edgeq.graph.beside import Counterpart


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
