"""Islands: nodes connected by values of one float type, and how they come to float32.

Exporters leave them where a constant of NumPy was a double, and mixed-precision tools where a layer
was not wanted in another precision: a Cast, a few nodes, and a Cast back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op, name_of
from edgeq.passes import edits
from edgeq.passes.lift import lift_attributes
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_DOMAINS: Final = frozenset({"", "ai.onnx"})


@dataclass(frozen=True, slots=True)
class Island:
    """Nodes connected by values of one type.

    Attributes:
        kind: The type.
        nodes: Those that read or write such values, Casts at the border included.
        values: The values, constants included.
    """

    kind: ir.DataType
    nodes: dict[ir.Node, None]
    values: dict[ir.Value, None]


def lift(
    model: ir.Model,
    kinds: Collection[ir.DataType],
    objection: Callable[[Island], str | None],
) -> Outcome:
    """Let islands of some types compute in float32.

    Args:
        model: Changed in place.
        kinds: The types.
        objection: Why an island that could be lifted must not be.
    """
    names = rewire.Names(model)
    answers: list[Answer] = []
    for island in _islands(model, kinds):
        obstacle = next(_obstacles(island), None) or objection(island)
        if obstacle is None:
            _lift(island, names)
        answers.append(obstacle or True)
    return Outcome.of(answers)


def _islands(model: ir.Model, kinds: Collection[ir.DataType]) -> Iterator[Island]:
    """The islands that a Cast leads to and that something is computed on."""
    done: set[ir.Node] = set()
    for node in walk.nodes(model):
        if node in done or not is_op(node, "Cast") or node.outputs[0].dtype not in kinds:
            continue
        island = _grown(node)
        done.update(island.nodes)
        if any(value in island.values for each in island.nodes for value in each.inputs):
            yield island


def _grown(start: ir.Node) -> Island:
    kind = start.outputs[0].dtype
    if kind is None:
        raise ValueError(f"{start!r} has no type")
    island = Island(kind, {}, {})
    pending = [start]
    while pending:
        node = pending.pop()
        if node in island.nodes:
            continue
        island.nodes[node] = None
        for value in (*node.inputs, *node.outputs):
            if value is None or value.dtype is not kind or value in island.values:
                continue
            island.values[value] = None
            if constants.is_constant(value):
                continue
            producer = value.producer()
            pending += [producer] if producer is not None else []
            pending += [use.node for use in value.uses()]
    return island


def _obstacles(island: Island) -> Iterator[str]:
    kind = island.kind.name.lower()
    for value in island.values:
        place = f"the {kind} value {value.name!r}"
        if value.is_graph_input() or value.is_graph_output():
            yield f"{place} is an input or an output"
        elif value.producer() is None and not constants.is_constant(value):
            yield f"{place} comes from elsewhere"
        elif not isinstance(value.type, ir.TensorType):
            yield f"{place} is no tensor"
    split = len({node.graph for node in island.nodes}) > 1
    for node in island.nodes:
        if split or next(walk.subgraphs(node), None) is not None:
            yield f"{where(node)}: its {kind} values cross the border of a body"
        elif node.domain not in _DOMAINS or any(a.is_ref() for a in node.attributes.values()):
            yield f"{where(node)}: it may need {kind}"
        elif any(v is not None and v.dtype is None for v in (*node.inputs, *node.outputs)):
            yield f"{where(node)}: a type beside its {kind} values is not known"


def _lift(island: Island, names: Names) -> None:
    for node in island.nodes:
        lift_attributes(node, frozenset({island.kind}))
        for index, value in enumerate(node.inputs):
            tensor = constants.tensor(value) if value in island.values else None
            if value is not None and tensor is not None:
                data = tensor.numpy().astype(np.float32)
                edits.set_constant(node, index, data, names, name_of(value))
    for value in island.values:
        if not constants.is_constant(value):
            value.type = ir.TensorType(ir.DataType.FLOAT)
