"""Nodes and constants that do nothing, or that do again what was done already."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import shapes, walk
from edgeq.graph.walk import is_op
from undoing.pen import graph_of, is_float

if TYPE_CHECKING:
    from undoing.pen import Line, Pen

_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
           "Multinomial", "Dropout")  # fmt: skip


def clutter(pen: Pen) -> int:
    """Identities in many forms, duplicates, and Constant nodes."""
    done = _duplicate_nodes(pen)
    forms = itertools.cycle(_NOTHINGS)
    for node in list(pen.nodes()):
        value = node.outputs[0]
        if len(node.outputs) == 1 and is_float(value):
            nothing = next(forms)
            if shapes.rank(value) or nothing in (_identities, _dropout, _cast):
                pen.follow(value, nothing)
                done += 1
    return done + _duplicate_constants(pen) + _constant_nodes(pen)


def _identities(line: Line, value: ir.Value) -> ir.Value:
    return line("Identity", line("Identity", value))


def _dropout(line: Line, value: ir.Value) -> ir.Value:
    return line("Dropout", value)


def _unsqueeze(line: Line, value: ir.Value) -> ir.Value:
    return line.along("Squeeze", line.along("Unsqueeze", value, [0]), [0])


def _cast(line: Line, value: ir.Value) -> ir.Value:
    return line("Cast", value, to=ir.DataType.FLOAT)


def _reshape(line: Line, value: ir.Value) -> ir.Value:
    """Flat and back: by numbers where the shape is known, else by the shape as it is."""
    known = shapes.static(value)
    flat = line("Reshape", value, np.array([-1], np.int64))
    back = line("Shape", value) if known is None else np.array(known, np.int64)
    return line("Reshape", flat, back)


def _transpose(line: Line, value: ir.Value) -> ir.Value:
    order = list(reversed(range(shapes.rank(value) or 0)))
    return line("Transpose", line("Transpose", value, perm=order), perm=order)


def _one(line: Line, value: ir.Value) -> ir.Value:
    return line("Mul", value, np.array(1, np.float32))


def _nothing_added(line: Line, value: ir.Value) -> ir.Value:
    return line("Add", value, np.array(0, np.float32))


def _alone(line: Line, value: ir.Value) -> ir.Value:
    return line("Concat", value, axis=0)


_NOTHINGS = (
    _identities, _dropout, _unsqueeze, _cast, _reshape, _transpose, _one, _alone, _nothing_added,
)  # fmt: skip


def _duplicate_nodes(pen: Pen) -> int:
    """Let the second reader of a value read a copy of the node that computes it."""
    done = 0
    for node in list(pen.nodes()):
        value = node.outputs[0]
        uses = sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx))
        copied = len(node.outputs) == 1 and not is_op(node, *_RANDOM) and len(uses) > 1
        here = [use for use in uses if use.node.graph is node.graph]
        if not copied or len(here) < 2 or any(True for _ in walk.subgraphs(node)):
            continue
        copy = ir.Node(node.domain, node.op_type, node.inputs, node.attributes.values())
        graph_of(node).insert_after(node, pen.name(copy, f"{node.name}_again"))
        copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
        here[-1].node.replace_input_with(here[-1].idx, copy.outputs[0])
        done += 1
    return done


def _duplicate_constants(pen: Pen) -> int:
    """Give every reader of a shared constant a copy of its own."""
    done = 0
    for graph in pen.model.graphs():
        for value in list(graph.initializers.values()):
            if value.const_value is None or value.is_graph_input():
                continue
            for use in list(value.uses())[1:]:
                copy = pen.constant(graph, value.const_value.numpy(), f"{value.name}_again")
                use.node.replace_input_with(use.idx, copy)
                done += 1
    return done


def _constant_nodes(pen: Pen) -> int:
    """Spell every other initializer as a Constant node."""
    done = 0
    for graph in pen.model.graphs():
        for value in list(graph.initializers.values())[::2]:
            if value.const_value is None or value.is_graph_input() or value.is_graph_output():
                continue
            node = ir.node("Constant", [], {"value": value.const_value})
            graph.insert_before(graph[0], pen.name(node, f"{value.name}_node"))
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, node.outputs[0])
            del graph.initializers[value.name or ""]
            done += 1
    return done
