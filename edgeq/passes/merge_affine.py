"""Merges consecutive constant Add, Sub, Mul, Div, Neg and BatchNormalization into Mul and Add.

Only where nodes become fewer. Constants broadcast against each other as they did one by one, so no
channel axis needs to be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.shapes import static
from edgeq.passes import affine as affines
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import FLOATS, sole_reader, spells_fusion, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Affine
    from edgeq.passes.outcome import Answer


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive affine nodes, what the first one reads, and what they do together."""

    data: ir.Value
    nodes: tuple[ir.Node, ...]
    total: Affine


def merge_affine(model: ir.Model) -> Outcome:
    """Merge runs of constant arithmetic that no layer could take up."""
    names = rewire.Names(model)
    answers: list[Answer] = []
    done: set[ir.Node] = set()
    for node in walk.nodes(model):
        if node in done:
            continue
        run = _run(node)
        if run is not None:
            done.update(run.nodes)
            answers.append(_merge(run, names))
    return Outcome.of(answers)


def _run(node: ir.Node) -> _Run | None:
    step = affines.read(node, rank_of(node.inputs[0]) if node.inputs else None)
    if step is None or step.data.dtype not in FLOATS:
        return None
    data, nodes, total = step.data, [node], step.affine
    while (use := sole_reader(nodes[-1].outputs[0])) is not None:
        value = nodes[-1].outputs[0]
        step = affines.read(use.node, rank_of(value))
        if step is None or step.data is not value:
            break
        nodes.append(use.node)
        total = total.then(step.affine)
    return _Run(data, tuple(nodes), total)


def _merge(run: _Run, names: Names) -> Answer:
    left = run.total.scales + run.total.shifts
    if left >= len(run.nodes):
        return False
    if not left and not _may_vanish(run):
        return False
    place = where(run.nodes[0])
    if spells_fusion(run.data):
        return f"{place}: it ends arithmetic that the runtime fuses"
    if not run.total.finite:
        return f"{place}: merged, its numbers do not fit float32"
    if _grows(run):
        return f"{place}: merged, its constants would be larger than they are apart"
    _replace(run, names)
    return True


def _may_vanish(run: _Run) -> bool:
    """Whether the data can serve in place of the result: as large, and with a node behind it."""
    end, shape = run.nodes[-1].outputs[0], static(run.data)
    keeps = max(run.total.scale.size, run.total.shift.size) == 1 and _flat(run)
    producer = run.data.producer()
    inner = producer is not None and producer.graph is end.graph and not run.data.is_graph_output()
    return (inner or not end.is_graph_output()) and (
        keeps or (shape is not None and shape == static(end))
    )


def _flat(run: _Run) -> bool:
    """Whether constants of one number have no more dimensions than the data."""
    known = rank_of(run.data)
    return max(run.total.scale.ndim, run.total.shift.ndim) <= (known or 0)


def _number(run: _Run, array: affines.Float64) -> affines.Float64:
    """One number for all channels where they have the same, and the shape stays."""
    flat = array.reshape(-1)
    same = array.size > 1 and bool(np.all(flat == flat[0]))
    keeps = same and static(run.data) == static(run.nodes[-1].outputs[0]) is not None
    return np.asarray(flat[0]) if keeps else array


def _grows(run: _Run) -> bool:
    """Whether broadcasting constants against each other makes them larger than they were."""
    largest = max(v.const_value.size for n in run.nodes for v in n.inputs if v and v.const_value)
    return max(run.total.scale.size, run.total.shift.size) > max(largest, 1)


def _replace(run: _Run, names: Names) -> None:
    first, end = run.nodes[0], run.nodes[-1].outputs[0]
    dtype = run.data.dtype
    if dtype is None:
        raise ValueError(f"{run.data!r} has no type")
    value = run.data
    parts = (("Mul", run.total.scale, run.total.scales), ("Add", run.total.shift, run.total.shifts))
    for op_type, array, wanted in parts:
        if wanted:
            base = f"{first.name}__{op_type.lower()}"
            data = np.asarray(_number(run, array), dtype.numpy())
            constant = edits.constant(first, data, names, base)
            value = edits.add_node(first, op_type, [value, constant], names, base, like=end)
    rewire.take_place(end, value)
    edits.drop(run.nodes[::-1])
