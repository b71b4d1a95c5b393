"""Finds out how often a Loop runs where that depends on constants only.

Exporters compute in each round whether there is another one, from counters that start at a number:
tf2onnx compares two of them with the length of the sequence. Such conditions are run once here. The
number of rounds is a constant then, and what computes the condition is dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import EdgeqError
from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits, loops
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.loops import RoundTrip
    from edgeq.passes.outcome import Answer
    from edgeq.types import Array

_COUNTING = (
    "Abs", "Add", "And", "Cast", "Div", "Equal", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Reshape", "Squeeze",
    "Sub", "Unsqueeze", "Where", "Xor",
)  # fmt: skip
"""What conditions are made of."""

_LONGEST = 10_000
"""Loops of more rounds are not counted."""

_LARGEST = 1 << 12
"""How many elements constants have at most that are part of a condition."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """What the condition of a Loop depends on.

    Attributes:
        nodes: The nodes of the body that compute it and the next of ``states``, in order.
        states: States that begin with a constant.
        leaves: Constants.
    """

    nodes: tuple[ir.Node, ...]
    states: tuple[int, ...]
    leaves: tuple[ir.Value, ...]


def fold_loop_conditions(model: ir.Model) -> Outcome:
    """Let Loops whose condition is known in advance run a constant number of rounds."""
    version = opset(model)
    found = [loops.read(node, version) for node in walk.nodes(model) if is_op(node, "Loop")]
    if not found:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_fold(trip, model, names) for trip in found if trip is not None])


def _fold(trip: RoundTrip, model: ir.Model, names: Names) -> Answer:
    node, body = trip.node, trip.body
    count, go = node.inputs[0], node.inputs[1]
    again = loops.source(body.outputs[0])
    if again is body.inputs[1] or (go is not None and constants.scalar(go) != 1):
        return False
    most = None if count is None else constants.scalar(count)
    if count is not None and (most is None or most < 1):
        return False
    condition = _condition(trip)
    limit = _LONGEST if most is None else int(min(most, _LONGEST))
    rounds = None if condition is None else _rounds(trip, condition, limit, model)
    if rounds is None or (rounds == limit and limit != most):
        return False
    if rounds != most:
        node.replace_input_with(0, edits.constant(node, np.array(rounds), names, "rounds"))
    if go is None:
        node.replace_input_with(1, edits.constant(node, np.array(True), names, "go"))
    _go_on(trip, names)
    return True


def _go_on(trip: RoundTrip, names: Names) -> None:
    """Let each round hand on the condition that it finds."""
    same = ir.node("Identity", [trip.body.inputs[1]])
    same.name = names.node(f"{trip.node.name}__go_on")
    output, old = same.outputs[0], trip.body.outputs[0]
    output.name, output.type, output.shape = names.value(f"{old.name}__same"), old.type, old.shape
    trip.body.append(same)
    trip.body.outputs[0] = output


def _condition(trip: RoundTrip) -> _Condition | None:
    """What decides whether there is another round, if all of that is counted from constants."""
    number = {trip.before(state): state for state in range(trip.states)}
    nodes: set[ir.Node] = set()
    states: dict[int, None] = {}
    leaves: dict[ir.Value, None] = {}
    pending = [trip.body.outputs[0]]
    while pending:
        value = pending.pop()
        node, state = value.producer(), number.get(value)
        if constants.is_constant(value):
            leaves[value] = None
        elif state is not None:
            if state not in states:
                states[state] = None
                pending.append(trip.behind(state))
        elif value in (trip.body.inputs[0], trip.body.inputs[1]):
            continue
        elif node is None or node.graph is not trip.body or not is_op(node, *_COUNTING):
            return None
        elif node not in nodes:
            nodes.add(node)
            pending += [v for v in node.inputs if v is not None]
    starts = [trip.initial(state) for state in states]
    tensors = [constants.tensor(value) for value in (*leaves, *starts)]
    if any(t is None or t.size > _LARGEST or t.dtype == ir.DataType.STRING for t in tensors):
        return None
    ordered = tuple(node for node in trip.body if node in nodes)
    return _Condition(ordered, tuple(states), tuple(leaves))


def _rounds(trip: RoundTrip, condition: _Condition, limit: int, model: ir.Model) -> int | None:
    """How many rounds there are, of ``limit`` at most."""
    starts = [trip.initial(state) for state in condition.states]
    first = [np.array(limit), np.array(True), *map(constants.array, starts)]
    inputs = [_stored(f"start_{i}", array) for i, array in enumerate(first) if array is not None]
    body = _counting(trip, condition, model)
    loop = ir.node("Loop", inputs, {"body": body}, num_outputs=len(condition.states) + 1)
    for index, value in enumerate(loop.outputs):
        value.name = f"final_{index}"
    told = loop.outputs[-1]
    told.type, told.shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([None])
    graph = ir.Graph(
        [], [told], nodes=[loop], initializers=inputs, opset_imports=model.opset_imports,
        name="rounds",
    )  # fmt: skip
    counted = ir.Model(graph, ir_version=max(model.ir_version, 4))
    try:
        session = Session(counted, SessionConfig(optimize=False), what="the condition of a loop")
        return int(next(iter(session.run({}).values())).size)
    except EdgeqError:
        return None


def _counting(trip: RoundTrip, condition: _Condition, model: ir.Model) -> ir.Graph:
    """The body with nothing but the condition, which it collects as well."""
    read = [*trip.body.inputs[:2], *(trip.before(state) for state in condition.states)]
    kinds = (ir.DataType.INT64, ir.DataType.BOOL, *(v.dtype for v in read[2:]))
    copies: dict[ir.Value | None, ir.Value | None] = {None: None}
    for index, (value, kind) in enumerate(zip(read, kinds, strict=True)):
        shape = ir.Shape([]) if index < 2 else value.shape
        told = None if kind is None else ir.TensorType(kind)
        copies[value] = ir.Value(name=f"input_{index}", type=told, shape=shape)
    inputs = [copy for copy in copies.values() if copy is not None]
    arrays = [(leaf, constants.array(leaf)) for leaf in condition.leaves]
    stored = {v: _stored(f"leaf_{i}", a) for i, (v, a) in enumerate(arrays) if a is not None}
    copies.update((leaf, value) for leaf, value in stored.items())
    nodes = [_copy(node, copies, f"value_{i}") for i, node in enumerate(condition.nodes)]
    behind = [trip.body.outputs[0], *(trip.behind(state) for state in condition.states)]
    results = [
        ir.node("Identity", [copies[value]], outputs=[ir.Value(name=f"output_{index}")])
        for index, value in enumerate([*behind, trip.body.outputs[0]])
    ]
    return ir.Graph(
        inputs, [node.outputs[0] for node in results], nodes=[*nodes, *results],
        initializers=list(stored.values()), opset_imports=model.opset_imports, name="condition",
    )  # fmt: skip


def _copy(node: ir.Node, copies: dict[ir.Value | None, ir.Value | None], name: str) -> ir.Node:
    inputs = [copies[value] for value in node.inputs]
    new = ir.Node("", node.op_type, inputs, node.attributes.values(), num_outputs=1)
    new.outputs[0].name = name
    copies[node.outputs[0]] = new.outputs[0]
    return new


def _stored(name: str, array: Array) -> ir.Value:
    tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    return ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
