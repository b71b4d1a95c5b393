"""Fuses attention over a cache of keys and values into onnxruntime's GroupQueryAttention.

Its kernel appends to the cache, reads each head of keys and values once for all heads of queries
that share it, and knows caches of integers. The graph fused here is the one that exporters write::

    Softmax(MatMul(query, Transpose(keys)) * scale + mask) @ values

with keys and values that are ``Concat(input, new)``, an output of the model, and maybe each head
repeated. The mask is handed over as it is (``attention_bias``, ``causal = 0``), so that nothing has
to be known about it; rotations of queries and keys stay in front (:mod:`fuse_rotary`).
onnxruntime's own optimizer (onnxruntime.transformers 1.31) leaves such a graph alone, whichever of
its model types it is told: tried on the decoder of the tests. The pass is in no pipeline: the
kernel takes several new tokens behind a filled cache for a batch of 1 only (onnxruntime 1.31,
contrib_ops/cpu/bert/group_query_attention_helper.h), which the graph does not mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, produced_by, sole_reader, where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

DOMAIN: Final = "com.microsoft"
OPERATOR: Final = "GroupQueryAttention"

_BY_HEADS: Final = (0, 2, 1, 3)
_KEYS_TURNED: Final = (0, 1, 3, 2)


@dataclass(frozen=True, slots=True)
class _Cache:
    """A cache: what was there, what is new, both [batch, heads, tokens, channels], and the node."""

    past: ir.Value
    new: ir.Value
    concat: ir.Node
    heads: int
    channels: int


@dataclass(frozen=True, slots=True)
class _Attention:
    """One attention over a cache.

    Attributes:
        query: [batch, query heads, tokens, channels].
        query_heads: Their number.
        keys: The cache of keys.
        values: The cache of values, of the same shape.
        scale: Factor of the scores.
        mask: What is added to the scores, [batch or 1, heads or 1, tokens, all tokens]; or None.
        product: The node that multiplies by the values.
    """

    query: ir.Value
    query_heads: int
    keys: _Cache
    values: _Cache
    scale: float
    mask: ir.Value | None
    product: ir.Node


def fuse_cached_attention(model: ir.Model) -> Outcome:
    """Put GroupQueryAttention in the place of attention over a cache."""
    names = rewire.Names(model)
    lengths: dict[object, tuple[ir.Value, ir.Value]] = {}
    answers: list[Answer] = []
    for node in [n for n in walk.nodes(model) if is_op(n, "Softmax")]:
        found = _attention(node)
        if isinstance(found, _Attention):
            model.opset_imports.setdefault(DOMAIN, 1)
            _rewrite(found, names, lengths)
            answers.append(True)
        else:
            answers.append(found)
    return Outcome.of(answers)


def _attention(softmax: ir.Node) -> _Attention | Answer:
    reader = sole_reader(softmax.outputs[0])
    if reader is None or not is_op(reader.node, "MatMul") or reader.index != 0:
        return False
    values = _cache(_repeated(reader.node.inputs[1]))
    if values is None:
        return False
    if softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return f"{where(softmax)}: it is not over the tokens"
    scores = _scores(softmax.inputs[0])
    if scores is None:
        return f"{where(softmax)}: what it reads is no masked product of queries and keys"
    product, scale, mask = scores
    turned, factor = _unscaled(product.inputs[1])
    transpose = produced_by(turned, "Transpose")
    if transpose is None or tuple(transpose.attributes.get_ints("perm", ())) != _KEYS_TURNED:
        return f"{where(product)}: the keys are not transposed"
    stored, inner = _unscaled(transpose.inputs[0])
    keys = _cache(_repeated(stored))
    query = product.inputs[0]
    heads = _size(query, 1)
    if keys is None or query is None or heads is None:
        return f"{where(product)}: the keys are in no cache, or sizes are not known"
    factor *= scale * inner
    found = _Attention(query, heads, keys, values, factor, mask, reader.node)
    return next(_objections(found), found)


def _objections(found: _Attention) -> Iterator[str]:
    keys, values = found.keys, found.values
    place = where(found.product)
    if (keys.heads, keys.channels) != (values.heads, values.channels):
        yield f"{place}: keys and values differ in heads or channels"
    if found.query_heads % keys.heads or _size(found.query, 3) != keys.channels:
        yield f"{place}: the heads of queries are no multiple of those of keys"
    mask = found.mask
    if mask is not None and (
        mask.shape is None or len(mask.shape) != 4 or 1 in (_size(mask, 2), _size(mask, 3))
    ):
        yield f"{place}: the mask is not [batch, heads, tokens, all tokens]"
    concats = {keys.concat, values.concat}
    given = [found.query, keys.new, values.new, *([] if mask is None else [mask])]
    if _hangs_on(given, concats):
        yield f"{place}: what it reads hangs on the cache that it writes"


def _scores(value: ir.Value | None) -> tuple[ir.Node, float, ir.Value | None] | None:
    """The product of queries and keys behind scores, its factor, and the mask added to it."""
    add = produced_by(value, "Add")
    if add is None:
        found = _scaled_product(value)
        return None if found is None else (*found, None)
    for place, mask in ((0, add.inputs[1]), (1, add.inputs[0])):
        found = _scaled_product(add.inputs[place])
        if found is not None:
            return (*found, mask)
    return None


def _scaled_product(value: ir.Value | None) -> tuple[ir.Node, float] | None:
    plain, factor = _unscaled(value)
    product = produced_by(plain, "MatMul")
    return None if product is None else (product, factor)


def _unscaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """A value without the constant number that it is multiplied or divided by, and that factor."""
    node = produced_by(value, "Mul", "Div")
    if node is None:
        return value, 1.0
    number = constants.scalar(node.inputs[1])
    if number is not None and number != 0.0:
        return node.inputs[0], number if node.op_type == "Mul" else 1.0 / number
    number = constants.scalar(node.inputs[0])
    if number is not None and node.op_type == "Mul":
        return node.inputs[1], number
    return value, 1.0


def _repeated(value: ir.Value | None) -> ir.Value | None:
    """What each head of ``value`` is a copy of; the value itself where none is repeated."""
    reshape = produced_by(value, "Reshape")
    expand = produced_by(reshape.inputs[0], "Expand") if reshape is not None else None
    unsqueeze = produced_by(expand.inputs[0], "Unsqueeze") if expand is not None else None
    if reshape is None or expand is None or unsqueeze is None:
        return value
    source, wide = unsqueeze.inputs[0], expand.outputs[0]
    heads, copies, channels = _size(wide, 1), _size(wide, 2), _size(wide, 4)
    if heads is None or copies is None or ints(unsqueeze, 1, "axes") != (2,):
        return value
    whole = reshape.outputs[0]
    if heads != _size(source, 1) or _size(whole, 1) != heads * copies:
        return value
    return source if channels is not None and _size(whole, 3) == channels else value


def _cache(value: ir.Value | None) -> _Cache | None:
    concat = produced_by(value, "Concat")
    if concat is None or value is None or not value.is_graph_output() or len(concat.inputs) != 2:
        return None
    past, new = concat.inputs
    if past is None or new is None or not past.is_graph_input():
        return None
    heads, channels = _size(past, 1), _size(past, 3)
    if heads is None or channels is None or concat.attributes.get_int("axis", 0) not in (2, -2):
        return None
    return _Cache(past, new, concat, heads, channels)


def _size(value: ir.Value | None, axis: int) -> int | None:
    """The size of one of several axes, if it is known."""
    shape = None if value is None else value.shape
    if shape is None or len(shape) <= axis:
        return None
    size = shape[axis]
    return size if isinstance(size, int) else None


def _hangs_on(values: Iterable[ir.Value], targets: set[ir.Node]) -> bool:
    """Whether one of the nodes has to run before one of the values is there."""
    seen: set[ir.Node] = set()
    open_ = [value.producer() for value in values]
    while open_:
        node = open_.pop()
        if node is None or node in seen:
            continue
        if node in targets:
            return True
        seen.add(node)
        open_ += [value.producer() for value in node.inputs if value is not None]
    return False


def _rewrite(
    found: _Attention, names: Names, lengths: dict[object, tuple[ir.Value, ir.Value]]
) -> None:
    anchor, keys, values = found.product, found.keys, found.values
    build = Builder(anchor, names)
    width = (found.query_heads, keys.channels)
    last, total = _lengths(keys, build, lengths)
    node = ir.node(
        OPERATOR,
        [
            build.flat(found.query, found.query_heads * keys.channels),
            build.flat(keys.new, keys.heads * keys.channels),
            build.flat(values.new, keys.heads * keys.channels),
            keys.past, values.past, last, total, None, None, None, found.mask,
        ],
        {"num_heads": found.query_heads, "kv_num_heads": keys.heads, "scale": found.scale,
         "causal": 0},
        domain=DOMAIN,
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
    rewire.take_place(anchor.outputs[0], build.by_heads(node.outputs[0], *width))
    for output, old in zip(node.outputs[1:], (keys, values), strict=True):
        rewire.take_place(old.concat.outputs[0], output)


def _lengths(
    cache: _Cache, build: Builder, known: dict[object, tuple[ir.Value, ir.Value]]
) -> tuple[ir.Value, ir.Value]:
    """The place of the last token in each row, int32 [batch], and the number of all tokens.

    Caches whose shapes name the same sizes share them.
    """
    shape = cache.concat.outputs[0].shape
    sizes = (None, None) if shape is None else (str(shape[0]), str(shape[2]))
    key: object = cache.concat if "None" in sizes or None in sizes else sizes
    if key not in known:
        old, new = build.node("Shape", [cache.past]), build.node("Shape", [cache.new])
        place = build.constant(np.array([2], np.int64))
        sum_ = build.node("Add", [build.node("Gather", [old, place]),
                                  build.node("Gather", [new, place])])  # fmt: skip
        total = build.node("Cast", [sum_], {"to": int(ir.DataType.INT32)})
        one = build.constant(np.array([1], np.int32))
        rows = build.node("Gather", [old, build.constant(np.array([0], np.int64))])
        last = build.node("Expand", [build.node("Sub", [total, one]), rows])
        known[key] = (last, build.node("Reshape", [total, build.constant(np.zeros(0, np.int64))]))
    return known[key]


@dataclass(frozen=True, slots=True)
class Builder:
    """Adds nodes in front of one."""

    anchor: ir.Node
    names: Names

    def node(
        self,
        op_type: str,
        inputs: list[ir.Value],
        attributes: dict[str, int | float | str | tuple[int, ...]] | None = None,
    ) -> ir.Value:
        """Add a node; its output, of the type of the first input or that of a Cast."""
        base = f"{self.anchor.name}__{op_type.lower()}"
        made = edits.add_node(self.anchor, op_type, inputs, self.names, base, attributes)
        kind = inputs[0].dtype if op_type != "Shape" else ir.DataType.INT64
        cast = (attributes or {}).get("to")
        kind = ir.DataType(cast) if isinstance(cast, int) else kind
        made.type = None if kind is None else ir.TensorType(kind)
        return made

    def constant(self, data: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> ir.Value:
        """Add a constant."""
        return edits.constant(self.anchor, data, self.names, f"{self.anchor.name}__constant")

    def flat(self, value: ir.Value, width: int) -> ir.Value:
        """[batch, heads, tokens, channels] -> [batch, tokens, heads * channels]."""
        turned = self.node("Transpose", [value], {"perm": _BY_HEADS})
        return self.node("Reshape", [turned, self.constant(np.array([0, 0, width]))])

    def by_heads(self, value: ir.Value, heads: int, channels: int) -> ir.Value:
        """[batch, tokens, heads * channels] -> [batch, heads, tokens, channels]."""
        shape = self.constant(np.array([0, 0, heads, channels]))
        split = self.node("Reshape", [value, shape])
        return self.node("Transpose", [split], {"perm": _BY_HEADS})
