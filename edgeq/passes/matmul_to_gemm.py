"""Makes a product of matrices and the bias behind it one Gemm.

onnxruntime does the same while it loads a model (core/optimizer/matmul_add_fusion.cc), so the time
stays as it is; the file has a node less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import affine as affines
from edgeq.passes import edits
from edgeq.passes import layer as layers
from edgeq.passes.outcome import Outcome
from edgeq.passes.passages import Place
from edgeq.passes.pattern import opset, sole_reader, where

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.layer import Layer
    from edgeq.passes.outcome import Answer

_BROADCASTS = 7
"""The opset from which Gemm broadcasts its bias without an attribute."""

_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
"""What onnxruntime's CPU provider has both operators for (core/providers/cpu/math/gemm.cc)."""


def matmul_to_gemm(model: ir.Model) -> Outcome:
    """Let Gemm take the place of MatMul and a constant added per column, where data has rank 2."""
    if opset(model) < _BROADCASTS:
        return Outcome()
    names = rewire.Names(model)
    return Outcome.of([_merge(n, names) for n in walk.nodes(model) if is_op(n, "MatMul")])


def _merge(node: ir.Node, names: Names) -> Answer:
    layer, output = layers.read(node), node.outputs[0]
    if not isinstance(layer, layers.Layer) or rank_of(node.inputs[0]) != 2:
        return False
    use, weight = sole_reader(output), node.inputs[1]
    if use is None or weight is None or weight.dtype not in _TYPES:
        return False
    step = affines.read(use.node, 2)
    if step is None or step.data is not output or is_op(use.node, "BatchNormalization"):
        return False
    total = affines.per_channel(step.affine, Place(2, -1, (layer.out_channels,)))
    if total is None:
        return f"{where(use.node)} behind {where(node)} is not per column"
    if total.scales or not total.shifts:
        return False
    _replace(layer, total.shift, use.node, names)
    return True


def _replace(layer: Layer, shift: affines.Float64, last: ir.Node, names: Names) -> None:
    node, end = layer.node, last.outputs[0]
    data = np.asarray(shift, layer.dtype)
    bias = edits.constant(node, data, names, f"{node.name}__bias")
    new = edits.add_node(node, "Gemm", [*node.inputs, bias], names, f"{node.name}__gemm", like=end)
    rewire.take_place(end, new)
    edits.drop([last, node])
