"""The plan: every number of a quantization, and nothing left to decide."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeq.types import EdgeRef, QuantParams, Ref, ValueRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.quantization.pairs import PairNote

PLAN_SCHEMA = 1


class NodeForm(enum.Enum):
    """How a node will run."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    BLOCKS = "blocks"
    HALF = "half"
    STORED = "stored"
    FLOAT = "float"
    ABSORBED = "absorbed"


INTEGER_FORMS = (NodeForm.STATIC, NodeForm.DYNAMIC)
"""Forms of nodes that compute in integers themselves."""


@dataclass(frozen=True, slots=True)
class NodeDecision:
    """What becomes of a node, and why.

    Attributes:
        node: Its name.
        op_type: Its operator.
        form: How it will run.
        reason: Why, for a reader of the report; empty where the form is the wanted one.
        provider: What runs it, where that is a fallback of the target.
        respelled: Whether other operators take its place.
        padded: Channels of zeros that its input and its weight get.
    """

    node: str
    op_type: str
    form: NodeForm
    reason: str = ""
    provider: str = ""
    respelled: bool = False
    padded: int = 0


@dataclass(frozen=True, slots=True)
class ActivationEntry:
    """A Q/DQ pair on a value.

    Attributes:
        value: The value.
        params: Per-tensor numbers.
        readers: The uses that read the dequantized value; None: all of them and the graph output.
    """

    value: ValueRef
    params: QuantParams
    readers: tuple[EdgeRef, ...] | None


@dataclass(frozen=True, slots=True)
class WeightEntry:
    """A constant that is stored in integers, for one use of it.

    Attributes:
        edge: The use.
        params: Per-tensor or per-channel numbers.
    """

    edge: EdgeRef
    params: QuantParams


@dataclass(frozen=True, slots=True)
class QuantPlan:
    """All that insertion needs. Pure data, JSON.

    Attributes:
        activations: Q/DQ pairs on values.
        weights: Weights and biases in integers.
        dynamic: Numbers of the weights (one or two) of each dynamic node, by node name.
        dropped: Relu and Clip nodes that quantization makes redundant.
        decisions: What becomes of each node that has an operator rule.
        pairs: Layers of which two products can saturate with 8-bit weights on machines of the
            target, and what was done about it.
    """

    activations: tuple[ActivationEntry, ...] = ()
    weights: tuple[WeightEntry, ...] = ()
    dynamic: Mapping[str, tuple[WeightEntry, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    decisions: tuple[NodeDecision, ...] = ()
    pairs: tuple[PairNote, ...] = ()

    @property
    def integer_nodes(self) -> frozenset[str]:
        """Names of the nodes that run in integers."""
        return frozenset(d.node for d in self.decisions if d.form in INTEGER_FORMS)

    def unpadded(self) -> QuantPlan:
        """The same numbers for layers that read just what those of the float model read."""
        return replace(self, decisions=tuple(replace(d, padded=0) for d in self.decisions))

    def to_json(self) -> str:
        """The plan as JSON text; numbers keep every bit."""
        return json.dumps(
            {
                "schema": PLAN_SCHEMA,
                "activations": [
                    {
                        "value": entry.value.name,
                        **_params_json(entry.params),
                        "readers": None
                        if entry.readers is None
                        else [_ref_json(reader) for reader in entry.readers],
                    }
                    for entry in self.activations
                ],
                "weights": [_weight_json(entry) for entry in self.weights],
                "dynamic": {
                    node: [_weight_json(entry) for entry in entries]
                    for node, entries in self.dynamic.items()
                },
                "dropped": list(self.dropped),
                "pairs": [
                    {"node": n.node, "input": n.input, "worst": n.worst, "form": n.form.value}
                    for n in self.pairs
                ],
                "decisions": [
                    {
                        "node": d.node,
                        "op_type": d.op_type,
                        "form": d.form.value,
                        "reason": d.reason,
                        "respelled": d.respelled,
                        "padded": d.padded,
                    }
                    for d in self.decisions
                ],
            },
            indent=1,
        )


def _ref_json(ref: Ref) -> list[Any]:
    return [ref.name] if isinstance(ref, ValueRef) else [ref.node, ref.input]


def _weight_json(entry: WeightEntry) -> dict[str, Any]:
    return {"edge": _ref_json(entry.edge), **_params_json(entry.params)}


def _params_json(params: QuantParams) -> dict[str, Any]:
    return {
        "scale": params.scale.astype(float).tolist(),
        "zero_point": params.zero_point.tolist(),
        "dtype": params.dtype.value,
        "axis": params.axis,
    }
