"""Replaces arithmetic on shapes by its result, wherever the dimensions it uses are known.

Small vectors are followed element by element, with symbols for what differs from run to run
(:mod:`symbolic`). What is known as a whole becomes a constant. Where a Reshape, Expand, Slice or
Resize reads a vector that is not, it gets a constant that means the same: a Reshape copies a
dimension with 0 and computes one with -1, an Expand keeps one with 1, a Slice counts from the end,
a Resize multiplies.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import static
from edgeq.graph.walk import is_op, name_of
from edgeq.passes import dims, edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import given
from edgeq.passes.symbolic import Symbols, reshape_target
from edgeq.passes.symbolic_shapes import END, slice_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.graph.rewire import Names
    from edgeq.passes.dims import Size
    from edgeq.passes.outcome import Answer
    from edgeq.passes.symbolic_shapes import Told
    from edgeq.types import Array

_REPLACED = (
    ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.DOUBLE
)  # fmt: skip

_NEAR_END = 2
"""How far from the end a computed index may be: further away, d - k may be negative for a small d
and then count from the end twice."""


def fold_shapes(model: ir.Model) -> Outcome:
    """Replace known shape arithmetic by constants."""
    if not any(is_op(n, "Shape", "Size") for n in walk.nodes(model)):
        return Outcome()
    symbols, names = Symbols(model), rewire.Names(model)
    answers: list[Answer] = []
    for node in walk.nodes(model):
        answers += [_replace(value, symbols, names) for value in node.outputs]
        complete = _TARGETS.get(node.op_type) if is_op(node, node.op_type) else None
        if complete is not None:
            answers.append(complete(node, symbols, names))
    return Outcome.of(answers)


def _replace(value: ir.Value, symbols: Symbols, names: Names) -> Answer:
    """Let readers of a fully known value read a constant."""
    elements, shape, node = symbols.elements(value), symbols.shape(value), value.producer()
    if elements is None or shape is None or node is None or is_op(node, "Constant"):
        return False
    if value.dtype is None or value.dtype not in _REPLACED or _open(elements):
        return False
    if not value.uses() and (not value.is_graph_output() or is_op(node, "Identity")):
        return False
    numbers = [float(e) if isinstance(e, Fraction) else e for e in elements]
    data = np.array(numbers, value.dtype.numpy()).reshape(() if not shape else (-1,))
    name = name_of(value)
    if value.is_graph_output():
        constant = edits.constant(node, data, names, f"{name}__constant")
    else:
        value.name = names.value(f"{name}__computed")
        constant = rewire.add_initializer(edits.graph_of(node), name, data)
    rewire.take_place(value, constant)
    return True


def _open(elements: Told) -> bool:
    return any(e is None or isinstance(e, dims.Dim) for e in elements)


def _is_computed(node: ir.Node, index: int) -> bool:
    return given(node, index) and not constants.is_constant(node.inputs[index])


def _complete_reshape(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    """Copy the dimensions that stay, and leave at most one to be computed."""
    if not _is_computed(node, 1):
        return False
    wanted, data = symbols.elements(node.inputs[1]), symbols.shape(node.inputs[0])
    if wanted is None or (node.attributes.get_int("allowzero", 0) == 1 and 0 in wanted):
        return False
    target = reshape_target(wanted, data or ())
    if target is None:
        return False
    node.attributes.pop("allowzero", None)
    _set_input(node, 1, np.array(target, np.int64), names, "target")
    return True


def _complete_expand(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    """Write 1 for the dimensions that stay as they are."""
    if not _is_computed(node, 1):
        return False
    wanted, data = symbols.elements(node.inputs[1]), symbols.shape(node.inputs[0])
    if wanted is None or data is None:
        return False
    behind = len(wanted) - len(data)
    target = [
        1 if axis - behind >= 0 and size == data[axis - behind] else size
        for axis, size in enumerate(wanted)
    ]
    if not all(isinstance(size, int) for size in target):
        return False
    _set_input(node, 1, np.array(target, np.int64), names, "target")
    return True


def _complete_slice(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    """Count from the end where starts or ends follow the data's size."""
    if not (_is_computed(node, 1) or _is_computed(node, 2)):
        return False
    parts, data = slice_parts(node, symbols), symbols.shape(node.inputs[0])
    if parts is None or data is None:
        return False
    starts, ends, axes, steps = parts
    if not all(isinstance(s, int) and s > 0 for s in steps):
        return False
    sizes = [data[a] for a in axes]
    first = [_start(s, d) for s, d in zip(starts, sizes, strict=True)]
    last = [_stop(e, d) for e, d in zip(ends, sizes, strict=True)]
    if None in first or None in last:
        return False
    for index, found in ((1, first), (2, last)):
        value = node.inputs[index]
        if _is_computed(node, index) and value is not None and value.dtype is not None:
            _set_input(node, index, np.array(found, value.dtype.numpy()), names, "bounds")
    return True


def _start(index: Size | None, size: Size) -> int | None:
    if isinstance(index, int):
        return index
    apart = None if index is None else dims.subtract(size, index)
    return -apart if isinstance(apart, int) and 0 < apart <= _NEAR_END else None


def _stop(index: Size | None, size: Size) -> int | None:
    if index is not None and isinstance(index, dims.Dim) and dims.at_least(index, size):
        return END
    return _start(index, size)


def _complete_resize(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    """Give factors instead of sizes, which the runtime would divide to get the same factors."""
    # Exporters of opset 11 give an empty tensor for the one of both that they do not mean.
    empty = given(node, 2) and static(node.inputs[2]) == (0,)
    if not _is_computed(node, 3) or (given(node, 2) and not empty):
        return False
    stretch = node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch"
    wanted, data = symbols.elements(node.inputs[3]), symbols.shape(node.inputs[0])
    if not stretch or wanted is None or data is None:
        return False
    axes = node.attributes.get_ints("axes", tuple(range(len(data))))
    if len(axes) != len(wanted):
        return False
    factors = [_factor(size, data[axis]) for size, axis in zip(wanted, axes, strict=True)]
    if None in factors:
        return False
    node.replace_input_with(3, None)
    node.resize_inputs(3)
    _set_input(node, 2, np.array(factors, np.float32), names, "scales")
    return True


def _factor(wanted: Size | None, size: Size) -> float | None:
    """By what a size is multiplied; only whole numbers, which no rounding can miss."""
    ratio = None if wanted is None or size == 0 else dims.quotient(wanted, size)
    return float(ratio) if isinstance(ratio, int) and ratio > 0 else None


def _set_input(node: ir.Node, index: int, data: Array, names: Names, base: str) -> None:
    """Read a new constant; what computed it is left to its other readers."""
    new = edits.constant(node, data, names, f"{node.name}__{base}")
    node.replace_input_with(index, new)


_Complete: TypeAlias = "Callable[[ir.Node, Symbols, Names], Answer]"

_TARGETS: dict[str, _Complete] = {
    "Reshape": _complete_reshape,
    "Expand": _complete_expand,
    "Slice": _complete_slice,
    "Resize": _complete_resize,
}
