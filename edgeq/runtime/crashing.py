"""What onnxruntime crashes on while it loads a model: the process ends, and no error is told.

MatmulTransposeFusion of 1.31 ends in a segmentation fault where a Transpose of float16 moves the
first axis behind others and a MatMul with a constant reads it, possibly behind Cast, Identity or a
product with a scalar: between them stands the Cast that the CPU provider computes float16 behind,
and both are to trade places. Sequences that come first have such a Transpose, as those of RNNs and
of attention. Found by trying all permutations of two to four axes (``ORT_ENABLE_ALL``; less
optimization does not crash).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

FUSION: Final = "MatmulTransposeFusion"
"""The transformer of onnxruntime that crashes."""

_HALF: Final = ir.DataType.FLOAT16

_SEEN_THROUGH: Final = frozenset({"Cast", "Div", "Identity", "Mul"})


def crashes(model: ir.Model) -> bool:
    """Whether onnxruntime crashes while it loads a model, unless ``FUSION`` is left out."""
    found = [
        node.outputs[0].dtype
        for node in ir.traversal.RecursiveGraphIterator(model.graph)
        if is_multiplied_across(node)
    ]
    return _HALF in found or (None in found and _stores_half(model))


def _stores_half(model: ir.Model) -> bool:
    return any(v.dtype is _HALF for graph in model.graphs() for v in graph.initializers.values())


def is_multiplied_across(node: ir.Node) -> bool:
    """Whether a node is a Transpose that crashes where what it hands on is float16."""
    if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
        return False
    order = node.attributes.get_ints("perm", ())
    return _moves_first(order) and _is_multiplied(node.outputs[0])


def _moves_first(order: Sequence[int]) -> bool:
    """Whether the first of three or more axes goes behind others that keep their order."""
    last = len(order) - 1
    rest = [axis for axis in order if axis]
    return last > 1 and rest == sorted(rest) and list(order).index(0) in (last - 1, last)


def _is_multiplied(value: ir.Value) -> bool:
    readers = [use.node for use in value.uses()]
    return any(
        node.op_type == "MatMul"
        or (node.op_type in _SEEN_THROUGH and _is_multiplied(node.outputs[0]))
        for node in readers
    )
