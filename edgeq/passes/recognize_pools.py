"""Makes a mean or maximum over all positions of what a convolution computes a global pool.

onnxruntime's blocked layout for convolutions takes pools along (core/optimizer/nchwc_transformer.cc
and core/mlas/lib/snchwc.cpp) and reorders in front of a reduction; integer kernels exist for the
mean as a pool only. Measured in onnxruntime 1.31 on x86-64, one thread, microseconds for Conv, Relu
and ReduceMean / GlobalAveragePool: [1,16,112,112] 578 / 368, [1,64,28,28] 78 / 72, [1,512,7,7] 38 /
38. Elsewhere the reduction is the faster one, 28 / 37 at [1,16,112,112], and without dimensions of
1 the pool would need a node more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.symbolic_shapes import axes_of

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}

_LAYERS = ("Conv", "ConvTranspose")

_ALONG = (
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Mul",
    "Add", "Sub", "Div", "BatchNormalization", "MaxPool", "AveragePool", "Concat", "Erf", "Gelu",
)  # fmt: skip
"""What may stand between the convolution and the reduction."""

_DEPTH = 8

_RANKS = (3, 4, 5)
"""Ranks that onnxruntime pools: 1 to 3 spatial axes (core/providers/cpu/nn/pool.cc)."""


def recognize_pools(model: ir.Model) -> Outcome:
    """Write reductions of everything behind batch and channels as pools, where axes stay as 1."""
    names = rewire.Names(model)
    return Outcome.of([_recognize(n, names) for n in walk.nodes(model) if is_op(n, *_POOLS)])


def _recognize(node: ir.Node, names: Names) -> Answer:
    data, output = node.inputs[0], node.outputs[0]
    rank = rank_of(data)
    if data is None or rank not in _RANKS or data.dtype != ir.DataType.FLOAT:
        return False
    axes = axes_of(node, rank)
    if axes is None or set(axes) != set(range(2, rank)):
        return False
    if not node.attributes.get_int("keepdims", 1) or not _is_convolved(data, _DEPTH):
        return False
    pool = _POOLS[node.op_type]
    new = edits.add_node(node, pool, [data], names, f"{node.name}__pool", like=output)
    rewire.take_place(output, new)
    edits.drop([node])
    return True


def _is_convolved(value: ir.Value | None, depth: int) -> bool:
    """Whether a value is made of what a convolution computes, element by element."""
    node = None if value is None else value.producer()
    if node is None or depth == 0:
        return False
    if is_op(node, *_LAYERS):
        return True
    return is_op(node, *_ALONG) and any(_is_convolved(v, depth - 1) for v in node.inputs)
