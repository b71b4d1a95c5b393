"""Fuses attention over a cache of keys and values into onnxruntime's GroupQueryAttention.

Its kernel appends to the cache, reads each head of keys and values once for all heads of queries
that share it, and knows caches of integers. The graphs that are fused are those of
:mod:`edgeq.passes.cached_attention`. The mask is handed over as it is (``attention_bias``,
``causal = 0``), so that nothing has to be known about it; rotations of queries and keys stay in
front (:mod:`fuse_rotary`). onnxruntime's own optimizer (onnxruntime.transformers 1.31) leaves such
a graph alone, whichever of its model types it is told: tried on the decoder of the tests. The pass
is in no pipeline: the kernel takes several new tokens behind a filled cache for a batch of 1 only
(onnxruntime 1.31, contrib_ops/cpu/bert/group_query_attention_helper.h), which the graph does not
mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import told_sizes
from edgeq.graph.walk import MICROSOFT, is_op
from edgeq.passes import edits, pattern
from edgeq.passes.builder import Builder
from edgeq.passes.cached_attention import Attention, Cache, cached_attention
from edgeq.passes.outcome import Outcome
from edgeq.passes.symbolic import Symbols

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

OPERATOR: Final = "GroupQueryAttention"

_AXES_AS_INPUT: Final = 18
"""Opset from which ReduceMax takes its axes as an input."""


def fuse_cached_attention(model: ir.Model) -> Outcome:
    """Put GroupQueryAttention in the place of attention over a cache."""
    names = rewire.Names(model)
    places = [n for n in walk.nodes(model) if is_op(n, "Softmax", "Attention")]
    if not places:
        return Outcome()
    symbols = Symbols(model)
    opset, shared = pattern.opset(model), dict[object, _Shared]()
    answers: list[Answer] = []
    for node in places:
        found = cached_attention(node, symbols)
        if isinstance(found, Attention):
            model.opset_imports.setdefault(MICROSOFT, 1)
            # What one body computes is not there in another.
            here = shared.setdefault(found.product.graph, _Shared({}, {}, {}))
            _rewrite(found, names, here, opset)
            answers.append(True)
        else:
            answers.append(found)
    return Outcome.of(answers)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What layers of a graph have in common.

    Attributes:
        lengths: The place of the last token in each row and the number of all tokens, by cache.
        biases: What is added to scores, by mask.
        empty: Which rows see no token, by mask.
    """

    lengths: dict[object, tuple[ir.Value, ir.Value]]
    biases: dict[ir.Value, ir.Value]
    empty: dict[ir.Value, ir.Value]


def _rewrite(found: Attention, names: Names, shared: _Shared, opset: int) -> None:
    anchor, keys, values = found.product, found.keys, found.values
    build = Builder(anchor, names)
    width = (found.query_heads, keys.channels)
    last, total = _lengths(keys, build, shared.lengths)
    bias = _bias(found.mask, build, shared.biases)
    node = ir.node(
        OPERATOR,
        [
            build.flat(found.query, found.query_heads * keys.channels),
            build.flat(keys.new, keys.heads * keys.channels),
            build.flat(values.new, keys.heads * keys.channels),
            keys.past, values.past, last, total, None, None, None, bias,
        ],
        {"num_heads": found.query_heads, "kv_num_heads": keys.heads, "scale": found.scale,
         "causal": 0},
        domain=MICROSOFT,
        num_outputs=3,
    )  # fmt: skip
    node.name = names.node(f"{anchor.name}__attention")
    for output, old in zip(node.outputs[1:], (keys, values), strict=True):
        output.name = names.value(f"{anchor.name}__cache")
        output.type, output.shape = old.concat.outputs[0].type, old.concat.outputs[0].shape
    node.outputs[0].name = names.value(f"{anchor.name}__attended")
    node.outputs[0].type = found.query.type
    shape = found.query.shape
    if shape is not None:
        node.outputs[0].shape = ir.Shape([shape[0], shape[2], width[0] * width[1]])
    edits.graph_of(anchor).insert_before(anchor, node)
    attended = node.outputs[0]
    if found.guarded and bias is not None:
        empty = _empty_rows(bias, build, shared.empty, opset)
        attended = build.node("Where", [empty, build.constant(np.array(0, np.float32)), attended])
        attended.type, attended.shape = found.query.type, node.outputs[0].shape
    rewire.take_place(anchor.outputs[0], build.by_heads(attended, *width))
    for output, old in zip(node.outputs[1:], (keys, values), strict=True):
        rewire.take_place(old.concat.outputs[0], output)


def _bias(
    mask: ir.Value | None, build: Builder, known: dict[ir.Value, ir.Value]
) -> ir.Value | None:
    """What is added to the scores; a mask may say which of them count instead."""
    if mask is None or mask.dtype is not ir.DataType.BOOL:
        return mask
    if mask not in known:
        nothing, never = (build.constant(np.array(x, np.float32)) for x in (0, -np.inf))
        known[mask] = build.node("Where", [mask, nothing, never])
        known[mask].type = nothing.type
    return known[mask]


def _empty_rows(
    mask: ir.Value, build: Builder, known: dict[ir.Value, ir.Value], opset: int
) -> ir.Value:
    """Which tokens see none, by a mask [batch, 1, tokens, all tokens]: bool [batch, tokens, 1].

    The kernel makes no numbers of them (onnxruntime 1.31: Softmax over minus infinity alone).
    """
    if mask not in known:
        largest = (
            build.node("ReduceMax", [mask], {"axes": (3,)})
            if opset < _AXES_AS_INPUT
            else build.node("ReduceMax", [mask, build.integers(3)])
        )
        lowest = build.constant(np.array(np.finfo(np.float32).min, np.float32))
        hidden = build.node("Less", [largest, lowest])
        hidden.type = ir.TensorType(ir.DataType.BOOL)
        known[mask] = build.node("Reshape", [hidden, build.integers(0, -1, 1)])
    return known[mask]


def _lengths(
    cache: Cache, build: Builder, known: dict[object, tuple[ir.Value, ir.Value]]
) -> tuple[ir.Value, ir.Value]:
    """The place of the last token in each row, int32 [batch], and the number of all tokens.

    Caches whose shapes name the same sizes share them.
    """
    key = told_sizes(cache.concat.outputs[0], 0, 2) or cache.concat
    if key not in known:
        old, new = build.node("Shape", [cache.past]), build.node("Shape", [cache.new])
        place = build.integers(2)
        sum_ = build.node("Add", [build.node("Gather", [old, place]),
                                  build.node("Gather", [new, place])])  # fmt: skip
        total = build.node("Cast", [sum_], {"to": int(ir.DataType.INT32)})
        one = build.constant(np.array([1], np.int32))
        rows = build.node("Gather", [old, build.integers(0)])
        last = build.node("Expand", [build.node("Sub", [total, one]), rows])
        known[key] = (last, build.node("Reshape", [total, build.integers()]))
    return known[key]
