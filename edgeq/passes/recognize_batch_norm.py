"""Makes a Mul and an Add of constants per channel one BatchNormalization, where no layer took them.

It reads and writes the tensor once instead of twice: half the time with onnxruntime's CPU provider,
from 16x10x10 to 128x7500 elements. Only for float models: integer kernels know Mul and Add, not
BatchNormalization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import affine as affines
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.passages import Place
from edgeq.passes.pattern import opset, sole_reader, spells_fusion, where

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_CLAMPS = ("Clip", "Relu", "Max", "Min")

_INFERENCE_BY_DEFAULT = 7
"""The opset from which a BatchNormalization without attributes is one of inference."""


def recognize_batch_norm(model: ir.Model) -> Outcome:
    """Merge scale and shift that stand alone into one node."""
    if opset(model) < _INFERENCE_BY_DEFAULT:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_merge(n, names) for n in walk.nodes(model) if is_op(n, "Mul")])


def _merge(node: ir.Node, names: Names) -> Answer:
    use = sole_reader(node.outputs[0])
    if use is None or not is_op(use.node, "Add", "Sub"):
        return False
    shape = node.outputs[0].shape
    scale = affines.read(node, None)
    shift = affines.read(use.node, None)
    if scale is None or shift is None or shape is None or shift.data is not node.outputs[0]:
        return False
    channels = shape[1] if len(shape) >= 3 else None
    if not isinstance(channels, int) or channels < 1 or scale.data.dtype != ir.DataType.FLOAT:
        return False
    if scale.data.shape is None or tuple(scale.data.shape) != tuple(shape):
        return False
    total = affines.per_channel(
        scale.affine.then(shift.affine), Place(len(shape), 1 - len(shape), (channels,))
    )
    if total is None:
        return False
    if _starts_ramp(total, use.node.outputs[0]):
        return False
    if spells_fusion(scale.data):
        return f"{where(node)}: it ends arithmetic that the runtime fuses"
    if not total.finite:
        return f"{where(node)}: merged, its numbers do not fit float32"
    _replace(node, scale.data, use.node, total, names)
    return True


def _starts_ramp(total: affines.Affine, output: ir.Value) -> bool:
    """Whether one scale and one shift in front of a clamp may be read as a hard sigmoid yet."""
    single = all(bool(np.all(part == part.flat[0])) for part in (total.scale, total.shift))
    return single and any(is_op(reader, *_CLAMPS) for reader in output.consumers())


def _replace(
    node: ir.Node, data: ir.Value, last: ir.Node, total: affines.Affine, names: Names
) -> None:
    base, output = f"{node.name}__normalize", last.outputs[0]
    zeros, ones = np.zeros(total.scale.shape), np.ones(total.scale.shape)
    parameters = [
        edits.constant(node, array.astype(np.float32), names, f"{base}_{what}")
        for what, array in (
            ("scale", total.scale),
            ("shift", total.shift),
            ("mean", zeros),
            ("variance", ones),
        )
    ]
    new = edits.add_node(
        node, "BatchNormalization", [data, *parameters], names, base, {"epsilon": 0.0}, like=output
    )
    rewire.take_place(output, new)
    edits.drop([last, node])
