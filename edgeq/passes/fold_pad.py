"""Moves a Pad with zeros into the convolution or pool behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import given, ints, opset, produced_by, sole_reader, where

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer

_PADDED = ("Conv", "AveragePool", "MaxPool")
_NON_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp")


def fold_pad(model: ir.Model) -> Outcome:
    """Fold zero padding into the layers that can pad by themselves."""
    version = opset(model)
    pads = [n for n in walk.nodes(model) if is_op(n, "Pad") and n.inputs]
    return Outcome.of([_fold(node, version) for node in pads])


def _fold(node: ir.Node, version: int) -> Answer:
    use = sole_reader(node.outputs[0])
    if use is None or use.index != 0 or not is_op(use.node, *_PADDED):
        return False
    layer = use.node
    amounts = _amounts(node)
    place = f"{where(node)} in front of {where(layer)}"
    if isinstance(amounts, str):
        return f"{place}: {amounts}"
    reason = _why_not(layer, amounts, version)
    if reason is not None:
        return f"{place}: {reason}"
    own = tuple(layer.attributes.get_ints("pads", (0,) * len(amounts)))
    total = [a + b for a, b in zip(amounts, own, strict=True)]
    layer.attributes.add(ir.AttrInt64s("pads", total))
    layer.attributes.pop("auto_pad", None)
    if is_op(layer, "AveragePool"):
        layer.attributes.add(ir.AttrInt64("count_include_pad", 1))
    layer.replace_input_with(0, node.inputs[0])
    rewire.remove(node)
    return True


def _amounts(node: ir.Node) -> tuple[int, ...] | str:
    """Spatial padding, begins before ends, of a Pad with zeros; or why it is none."""
    if node.attributes.get_string("mode", "constant") != "constant":
        return "it does not pad with a constant"
    value = constants.scalar(node.inputs[2]) if given(node, 2) else 0.0
    if value != 0 or node.attributes.get_float("value", 0.0) != 0:
        return "it does not pad with zero"
    amounts = ints(node, 1, "pads")
    if amounts is None:
        return "its amounts are not constant"
    if given(node, 3):
        return _spread(node, amounts)
    return _spatial(amounts)


def _spread(node: ir.Node, amounts: tuple[int, ...]) -> tuple[int, ...] | str:
    """Amounts given for some axes only (opset 18), laid out for all."""
    data, axes = node.inputs[0], ints(node, 3, "axes")
    if axes is None or data is None or data.shape is None:
        return "its axes are not constant"
    rank, full = len(data.shape), np.zeros(2 * len(data.shape), np.int64)
    for position, axis in enumerate(axes):
        full[axis % rank] = amounts[position]
        full[axis % rank + rank] = amounts[position + len(axes)]
    return _spatial(tuple(int(i) for i in full))


def _spatial(amounts: tuple[int, ...]) -> tuple[int, ...] | str:
    rank = len(amounts) // 2
    if any(amounts[:2]) or any(amounts[rank : rank + 2]):
        return "it pads batch or channels"
    if any(a < 0 for a in amounts):
        return "it crops"
    return amounts[2:rank] + amounts[rank + 2 :]


def _why_not(layer: ir.Node, amounts: tuple[int, ...], version: int) -> str | None:
    """Why a layer cannot do the padding itself; None when it can."""
    if layer.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "the layer's own padding depends on the size of its input"
    own = tuple(layer.attributes.get_ints("pads", (0,) * len(amounts)))
    if len(own) != len(amounts):
        return "ranks differ"
    if is_op(layer, "Conv"):
        return None
    if layer.attributes.get_int("ceil_mode", 0):
        return "the pool rounds its size up"
    kernel = layer.attributes.get_ints("kernel_shape", ())
    if any(a + b >= k for a, b, k in zip(amounts, own, (*kernel, *kernel), strict=True)):
        return "a pool pads less than its kernel"
    if is_op(layer, "AveragePool"):
        return _why_not_average(layer, own, version)
    source = layer.inputs[0]
    pad = None if source is None else source.producer()
    if pad is None or produced_by(pad.inputs[0], *_NON_NEGATIVE) is None:
        return "a pool pads with the lowest number, and its input may be negative"
    return None if len(layer.outputs) == 1 else "the pool's indices count the padding"


def _why_not_average(layer: ir.Node, own: tuple[int, ...], version: int) -> str | None:
    if version < 7:
        return "the opset's average leaves padding out"
    if any(own) and not layer.attributes.get_int("count_include_pad", 0):
        return "the pool's own padding is left out of the average"
    return None
