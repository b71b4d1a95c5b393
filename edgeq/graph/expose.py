"""Making inner values outputs of the model, so that a session returns them.

A value inside a branch of an If is handed up through additional outputs of every If around it;
the branch that does not hold it hands up an empty tensor. Values inside Loop and Scan bodies exist
once per iteration and are not exposed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph.rewire import Names
from edgeq.graph.walk import Body, bodies, path_to, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Exposed:
    """A model with additional outputs.

    Attributes:
        model: A copy of the model that was given; tensors are shared with it.
        outputs: Value name -> name of the output that carries it. Outputs that the model had
            already carry themselves; inputs of the model are not among them (the feed has them).
    """

    model: ir.Model
    outputs: Mapping[str, str]


def can_expose(value: ir.Value, owners: dict[ir.Graph, Body]) -> bool:
    """Whether a session can be made to return the value: no Loop or Scan around it."""
    producer = value.producer()
    graph = producer.graph if producer is not None else value.graph
    if not isinstance(graph, ir.Graph):
        return False
    return all(body.node.op_type == "If" for body in path_to(graph, owners))


def expose(model: ir.Model, names: Iterable[str], *, keep_outputs: bool = True) -> Exposed:
    """A copy of ``model`` that also returns the named values.

    Args:
        model: Left as it is.
        names: Values to return; unknown ones and those that cannot be exposed are skipped.
        keep_outputs: Whether the outputs that the model has stay; without them a session does
            not compute what nobody asked for.

    Returns:
        The copy, and under which output each value is found.
    """
    copy = model.clone()
    owners, known, fresh = bodies(copy), values(copy), Names(copy)
    present = {o.name: o.name for o in copy.graph.outputs if o.name}
    if not keep_outputs:
        copy.graph.outputs.clear()
    found: dict[str, str] = {}
    for name in names:
        value = known.get(name)
        if value is None or value.is_graph_input() or value.is_initializer():
            continue
        if not can_expose(value, owners):
            continue
        if name in present:
            if not keep_outputs:
                copy.graph.outputs.append(value)
            found[name] = name
            continue
        outer = _lift(value, owners, fresh)
        copy.graph.outputs.append(outer)
        found[name] = outer.name or name
    return Exposed(copy, found)


def expose_shapes(model: ir.Model, names: Iterable[str]) -> Exposed:
    """A copy of ``model`` that returns the shapes of the named values, and nothing else.

    The values themselves are freed as the model runs, so that this takes no more memory than that.

    Args:
        model: Left as it is.
        names: Values; those that are no tensors are skipped, as are those of :func:`expose`.

    Returns:
        The copy, and under which output the shape of each value is found, int64 [rank].
    """
    known = values(model)
    tensors = [n for n in names if n in known and not _is_other(known[n])]
    exposed = expose(model, tensors, keep_outputs=False)
    graph, fresh = exposed.model.graph, Names(exposed.model)
    carried = {output.name: output for output in graph.outputs}
    graph.outputs.clear()
    found = {}
    for name, output in exposed.outputs.items():
        node = ir.Node("", "Shape", [carried[output]], name=fresh.node(f"{name}__shape"))
        shape = node.outputs[0]
        shape.name, shape.type = fresh.value(f"{name}__shape"), ir.TensorType(ir.DataType.INT64)
        graph.append(node)
        graph.outputs.append(shape)
        found[name] = shape.name
    return Exposed(exposed.model, found)


def _is_other(value: ir.Value) -> bool:
    """Whether a value is known to be a sequence or an optional."""
    return value.type is not None and not isinstance(value.type, ir.TensorType)


def _lift(value: ir.Value, owners: dict[ir.Graph, Body], fresh: Names) -> ir.Value:
    """Hand ``value`` up to the main graph; returns the value that carries it there."""
    producer = value.producer()
    graph = producer.graph if producer is not None else value.graph
    while isinstance(graph, ir.Graph) and graph in owners:
        body = owners[graph]
        value = _hand_up(value, graph, body, fresh)
        graph = body.node.graph
    return value


def _hand_up(value: ir.Value, graph: ir.Graph, body: Body, fresh: Names) -> ir.Value:
    """Add one output to the If that owns ``graph``: ``value``, or nothing from other branches."""
    node, base = body.node, value.name or "value"
    for attribute in ("then_branch", "else_branch"):
        branch = node.attributes[attribute].as_graph()
        if branch is graph:
            branch.outputs.append(_own(branch, value, fresh))
        else:
            branch.outputs.append(_nothing(branch, value, base, fresh))
    node.resize_outputs(len(node.outputs) + 1)
    outer = node.outputs[-1]
    outer.name = fresh.value(f"{base}__up")
    outer.type = value.type
    return outer


def _own(branch: ir.Graph, value: ir.Value, fresh: Names) -> ir.Value:
    """``value``, or a copy of it where it is an output of the branch already."""
    if value not in branch.outputs:
        return value
    node = ir.Node("", "Identity", [value])
    node.name = fresh.node(f"{value.name}__copy")
    node.outputs[0].name = fresh.value(f"{value.name}__copy")
    node.outputs[0].type = value.type
    branch.append(node)
    return node.outputs[0]


def _nothing(branch: ir.Graph, value: ir.Value, base: str, fresh: Names) -> ir.Value:
    dtype = value.dtype or ir.DataType.FLOAT
    tensor = ir.Tensor(np.zeros((0,), dtype.numpy()), dtype=dtype, name="nothing")
    node = ir.node("Constant", [], {"value": tensor})
    node.name = fresh.node(f"{base}__nothing")
    node.outputs[0].name = fresh.value(f"{base}__nothing")
    node.outputs[0].type = ir.TensorType(dtype)
    node.outputs[0].shape = ir.Shape([0])
    branch.append(node)
    return node.outputs[0]
