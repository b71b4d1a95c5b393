"""Writes padding as numbers where ``auto_pad`` leaves it to the sizes, and they are known.

SAME_UPPER and SAME_LOWER pad so that the output has ceil(size / stride) elements; with a stride of
1 that takes the same padding for every size (ONNX operators Conv and MaxPool). Other passes can
then tell a layer that does not pad from one that does, and move a Pad into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import walk
from edgeq.graph.shapes import rank, static
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer

_WINDOWED = ("Conv", "MaxPool", "AveragePool", "LpPool")


def explicit_pads(model: ir.Model) -> Outcome:
    """Replace ``auto_pad`` by ``pads``."""
    return Outcome.of([_write(n) for n in walk.nodes(model) if is_op(n, *_WINDOWED)])


def _write(node: ir.Node) -> Answer:
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return False
    if mode != "VALID" and set(node.attributes.get_ints("dilations", ())) - {1}:
        return f"{where(node)}: runtimes refuse auto_pad with dilations"
    kernel = _kernel(node)
    if kernel is None:
        return f"{where(node)}: its padding depends on a kernel that is not known"
    pads = _pads(node, mode, kernel)
    if pads is None:
        return f"{where(node)}: its padding depends on the size of its input"
    node.attributes.pop("auto_pad")
    node.attributes.add(ir.AttrInt64s("pads", pads))
    return True


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    given = node.attributes.get_ints("kernel_shape", ())
    if given:
        return tuple(given)
    weight = static(node.inputs[1]) if is_op(node, "Conv") else None
    return None if weight is None else weight[2:]


def _pads(node: ir.Node, mode: str, kernel: tuple[int, ...]) -> list[int] | None:
    """Begins, then ends; None when a size that matters is not known."""
    count = len(kernel)
    if mode == "VALID":
        return [0] * 2 * count
    strides = node.attributes.get_ints("strides", (1,) * count)
    if node.attributes.get_int("ceil_mode", 0) or rank(node.inputs[0]) != count + 2:
        return None
    value = node.inputs[0]
    sizes = list(value.shape)[2:] if value is not None and value.shape is not None else []
    totals = []
    for size, taps, stride in zip(sizes, kernel, strides, strict=True):
        if stride == 1:
            totals.append(taps - 1)
        elif isinstance(size, int) and size >= 0:
            totals.append(max((-(-size // stride) - 1) * stride + taps - size, 0))
        else:
            return None
    fewer = [t // 2 for t in totals]
    more = [t - f for t, f in zip(totals, fewer, strict=True)]
    return [*fewer, *more] if mode == "SAME_UPPER" else [*more, *fewer]
