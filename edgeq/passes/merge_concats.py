"""Merges concatenations of concatenations, and puts parts of one value together again.

A Concat that nobody but another Concat along the same axis reads hands its inputs to that. Parts
that were cut from one value and lie next to each other become one part; all of its parts in order
become the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import cuts
from edgeq.passes.cuts import Cut, Range
from edgeq.passes.merge_slices import may_replace
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import produced_by, sole_reader
from edgeq.passes.symbolic import Symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer


def merge_concats(model: ir.Model) -> Outcome:
    """Concatenate in one step, and not what was one value before."""
    nodes = [n for n in walk.nodes(model) if _has_work(n)]
    if not nodes:
        return Outcome()
    symbols, names = Symbols(model), rewire.Names(model)
    answers: list[Answer] = []
    for node in nodes:
        answers += [_flatten(node, symbols), _rejoin(node, model, symbols, names)]
    return Outcome.of(answers)


def _has_work(node: ir.Node) -> bool:
    if not is_op(node, "Concat"):
        return False
    sources = [produced_by(v, "Concat", "Slice", "Split") for v in node.inputs]
    cut = [n for n in sources if n is not None and not is_op(n, "Concat")]
    return len(cut) > 1 or any(n is not None and is_op(n, "Concat") for n in sources)


def _axis(node: ir.Node, symbols: Symbols) -> int | None:
    shape = symbols.shape(node.outputs[0])
    return node.attributes.get_int("axis", 1) % len(shape) if shape else None


def _flatten(node: ir.Node, symbols: Symbols) -> Answer:
    """Read the inputs of the Concats that only this one reads."""
    axis, inner = _axis(node, symbols), []
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        earlier = produced_by(value, "Concat")
        alone = value is not None and sole_reader(value) is not None
        if earlier is not None and alone and axis is not None and _axis(earlier, symbols) == axis:
            inputs += earlier.inputs
            inner.append(earlier)
        else:
            inputs.append(value)
    if not inner:
        return False
    _set_inputs(node, inputs)
    for earlier in inner:
        rewire.remove(earlier)
    return True


def _set_inputs(node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def _rejoin(node: ir.Node, model: ir.Model, symbols: Symbols, names: Names) -> Answer:
    """Replace neighbouring parts of one value by one part."""
    axis = _axis(node, symbols)
    if axis is None:
        return False
    runs = _runs(node, axis, symbols)
    if len(runs) == len(node.inputs):
        return False
    inputs: list[ir.Value | None] = []
    for values, cut in runs:
        if cut is None or len(values) == 1:
            inputs += values
            continue
        shape = symbols.shape(cut.data)
        if shape is not None and cut.ranges[axis].covers(shape[axis]):
            inputs.append(cut.data)
        elif all(_is_own_slice(v) for v in values):
            new = cuts.write(node, cut, model, names)
            new.shape = None
            inputs.append(new)
        else:
            inputs += values
    if len(inputs) == len(node.inputs):
        return False
    if len(inputs) == 1 and inputs[0] is not None and may_replace(node.outputs[0], inputs[0]):
        rewire.take_place(node.outputs[0], inputs[0])
        rewire.remove(node)
    else:
        _set_inputs(node, inputs)
    return True


def _is_own_slice(value: ir.Value | None) -> bool:
    return value is not None and bool(produced_by(value, "Slice")) and bool(sole_reader(value))


def _runs(
    node: ir.Node, axis: int, symbols: Symbols
) -> list[tuple[list[ir.Value | None], Cut | None]]:
    """The inputs in groups of neighbouring parts, each with the part that they make together."""
    runs: list[tuple[list[ir.Value | None], Cut | None]] = []
    for value in node.inputs:
        cut = None if value is None else cuts.read(value, symbols)
        cut = cut if cut is not None and set(cut.ranges) == {axis} else None
        last = runs[-1][1] if runs else None
        if cut is not None and last is not None and _meet(last, cut, axis):
            joined = Cut(cut.data, {axis: Range(last.ranges[axis].start, cut.ranges[axis].end)})
            runs[-1] = ([*runs[-1][0], value], joined)
        else:
            runs.append(([value], cut))
    return runs


def _meet(first: Cut, second: Cut, axis: int) -> bool:
    end = first.ranges[axis].end
    whole = first.ranges[axis].step == second.ranges[axis].step == 1
    return whole and first.data is second.data and end == second.ranges[axis].start
