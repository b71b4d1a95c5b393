"""Puts the rounding of another processor into a model: noise behind chosen values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph.rewire import Names, add_initializer, insert_after, redirect
from edgeq.graph.walk import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TURNS: Final = 12345.0
"""Values times this run through so many turns of the sine that it is as good as chance."""

_FLOATS: Final = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def add_noise(model: ir.Model, chosen: Iterable[ir.Value], relative: float) -> int:
    """Let what reads a value read ``v + v * relative * sin(turns * v)`` instead. In place.

    The noise needs no shape, differs from element to element, and is the same in every run.

    Args:
        model: Changed in place.
        chosen: Values of the main graph; those that are no floats are skipped, and outputs of the
            graph stay as they are.
        relative: Largest noise as a fraction of the value.

    Returns:
        How many values got noise.
    """
    names, count = Names(model), 0
    constants: dict[ir.DataType, tuple[ir.Value, ir.Value]] = {}
    for value in chosen:
        readers = [(use.node, use.idx) for use in value.uses()]
        if value.dtype not in _FLOATS or not readers:
            continue
        if value.dtype not in constants:
            constants[value.dtype] = _constants(model.graph, names, value.dtype, relative)
        made = _noisy(value, constants[value.dtype], names)
        insert_after(value, made, model.graph)
        redirect(readers, made[-1].outputs[0])
        count += 1
    return count


def _constants(
    graph: ir.Graph, names: Names, dtype: ir.DataType, relative: float
) -> tuple[ir.Value, ir.Value]:
    turns, share = (
        add_initializer(graph, names.value(name), np.array(number, dtype.numpy()))
        for name, number in (("noise_turns", _TURNS), ("noise_share", relative))
    )
    return turns, share


def _noisy(
    value: ir.Value, constants: tuple[ir.Value, ir.Value], names: Names
) -> Sequence[ir.Node]:
    turns, share = constants
    made: list[ir.Node] = []

    def compute(op_type: str, *inputs: ir.Value) -> ir.Value:
        name = names.value(f"{name_of(value)}__noise")
        node = ir.Node("", op_type, inputs, outputs=[ir.Value(name=name, type=value.type)])
        node.name = names.node(name)
        made.append(node)
        return node.outputs[0]

    wave = compute("Sin", compute("Mul", value, turns))
    compute("Add", value, compute("Mul", compute("Mul", value, share), wave))
    return made
