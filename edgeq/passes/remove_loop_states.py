"""Takes out of Loop and Scan what need not go round with them.

A state that every round hands on as it came is a value from outside, and the weights that exporters
of recurrent networks pass that way (tf2onnx does) are constants again. A state that nothing but
itself depends on is left out, and so is what a Loop collects for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import loops
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, where

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.loops import RoundTrip
    from edgeq.passes.outcome import Answer


def remove_loop_states(model: ir.Model) -> Outcome:
    """Let loops carry only what changes and is read."""
    version = opset(model)
    found = [loops.read(node, version) for node in walk.nodes(model) if is_op(node, "Loop", "Scan")]
    if not found:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_remove(trip, names) for trip in found if trip is not None])


def _remove(trip: RoundTrip, names: Names) -> Answer:
    if not any(_is_read(value) for value in trip.node.outputs):
        return False
    constant = [state for state in range(trip.states) if _is_constant(trip, state)]
    inner = _names(trip.body)
    hidden = [state for state in constant if getattr(trip.initial(state), "name", None) in inner]
    if hidden:
        return f"{where(trip.node)}: names in its body hide values from outside"
    for state in constant:
        initial = trip.initial(state)
        if initial is not None:
            rewire.redirect([(u.node, u.idx) for u in trip.before(state).uses()], initial)
            rewire.take_place(trip.node.outputs[state], initial)
    dropped = {*constant, *_unread(trip, constant)}
    if not dropped or len(dropped) == len(trip.node.outputs):
        # One without outputs is no node; one that nobody reads is dead.
        return bool(constant)
    for state in dropped:
        initial = trip.initial(state) if state < trip.states else None
        if initial is not None:
            rewire.redirect([(u.node, u.idx) for u in trip.before(state).uses()], initial)
    trip.without(dropped, names)
    return True


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _is_constant(trip: RoundTrip, state: int) -> bool:
    """Whether every round leaves a state as it finds it, and nobody is handed it otherwise."""
    found, left, outputs = trip.before(state), trip.behind(state), list(trip.body.outputs)
    if trip.initial(state) is None or loops.source(left) is not found:
        return False
    others = outputs[: trip.ahead + state] + outputs[trip.ahead + state + 1 :]
    return not any(other is left or other is found for other in others)


def _names(body: ir.Graph) -> set[str]:
    """Every name of a body and of those inside it."""
    found: set[str] = set()
    graphs = [body]
    while graphs:
        graph = graphs.pop()
        values = [*graph.inputs, *graph.initializers.values()]
        for node in graph:
            values += node.outputs
            graphs += [inner for _, inner in walk.subgraphs(node)]
        found |= {value.name for value in values if value.name}
    return found


def _unread(trip: RoundTrip, constant: list[int]) -> set[int]:
    """Outputs that nobody reads, of states only those that no other value depends on."""
    outputs = range(len(trip.node.outputs))
    fixed = range(trip.states, len(outputs)) if is_op(trip.node, "Scan") else ()
    live = {n for n in outputs if n in fixed or _is_read(trip.node.outputs[n])}
    pending = [*trip.body.outputs[: trip.ahead], *(trip.body.outputs[trip.ahead + n] for n in live)]
    states = {trip.before(state): state for state in range(trip.states) if state not in constant}
    reached: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value in reached:
            continue
        reached.add(value)
        state, node = states.get(value), value.producer()
        if state is not None and state not in live:
            live.add(state)
            pending.append(trip.behind(state))
        if node is not None and node.graph is trip.body:
            pending += _read_by(node)
    return set(outputs) - live - set(constant)


def _read_by(node: ir.Node) -> list[ir.Value]:
    """What a node and its bodies read."""
    found = [value for value in node.inputs if value is not None]
    for _, body in walk.subgraphs(node):
        found.extend(body.outputs)
        for inner in ir.traversal.RecursiveGraphIterator(body):
            found += [value for value in inner.inputs if value is not None]
    return found
