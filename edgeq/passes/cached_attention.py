"""Recognises attention over a cache of keys and values.

Exporters write it as::

    Softmax(MatMul(query, Transpose(keys)) * scale + mask) @ values

with keys and values that are ``Concat(input, new)``, an output of the model, and maybe each head
repeated. The scale may stand in front of the product instead, on either side or both. PyTorch puts
zeros in the place of weights that are no numbers, those of rows that are masked as a whole. From
opset 23 on all of it is the operator Attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.graph import constants
from edgeq.graph.walk import is_op
from edgeq.passes.pattern import ints, produced_by, sole_reader, where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeq.passes.outcome import Answer
    from edgeq.passes.symbolic import Symbols

_KEYS_TURNED: Final = (0, 1, 3, 2)
_ALONG_THE_LAST: Final = 13
"""Opset from which Softmax is along the last axis where none is named."""

_STEP_OF_CHANNELS: Final = 8
"""onnxruntime 1.31, contrib_ops/cpu/bert/group_query_attention_helper.h."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache: what was there, what is new, both [batch, heads, tokens, channels], and the node."""

    past: ir.Value
    new: ir.Value
    concat: ir.Node
    heads: int
    channels: int


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention over a cache.

    Attributes:
        query: [batch, query heads, tokens, channels].
        query_heads: Their number.
        keys: The cache of keys.
        values: The cache of values, of the same shape.
        scale: Factor of the scores.
        mask: What is added to the scores, [batch or 1, heads or 1, tokens, all tokens], or which of
            them count; or None.
        product: The node that multiplies by the values.
        guarded: Whether rows that are masked as a whole come to zeros.
    """

    query: ir.Value
    query_heads: int
    keys: Cache
    values: Cache
    scale: float
    mask: ir.Value | None
    product: ir.Node
    guarded: bool


def cached_attention(node: ir.Node, look: Symbols) -> Attention | Answer:
    """The attention over a cache that a Softmax belongs to, or that Attention is.

    Args:
        node: Softmax or Attention.
        look: What is known of shapes.

    Returns:
        False where nothing looks like one, and why it is none that is known.
    """
    read = _operator if node.op_type == "Attention" else _spelled_out
    found = read(node, look)
    return next(_objections(found, look), found) if isinstance(found, Attention) else found


def _operator(node: ir.Node, look: Symbols) -> Attention | Answer:
    query, stored, values_stored, mask, *others = (*node.inputs, None)
    keys, values = (_cache(look, _repeated(look, v)) for v in (stored, values_stored))
    if keys is None or values is None:
        return False
    heads = _size(look, query, 1)
    if query is None or heads is None:
        return f"{where(node)}: the queries are not [batch, heads, tokens, channels]"
    causal = node.attributes.get_int("is_causal", 0)
    more = any(others) or any(output.uses() for output in node.outputs[1:])
    if causal or more or _number(node, "softcap", 0.0) != 0.0:
        return f"{where(node)}: it does more than to weigh values by masked scores"
    scale = _number(node, "scale", keys.channels**-0.5)
    # onnxruntime's kernel makes zeros of rows without any token (1.31), where the mask is of bools.
    guarded = mask is not None and mask.dtype is ir.DataType.BOOL
    return Attention(query, heads, keys, values, scale, mask, node, guarded)


def _number(node: ir.Node, name: str, default: float) -> float:
    told = node.attributes.get(name)
    return default if told is None else told.as_float()


def _spelled_out(softmax: ir.Node, look: Symbols) -> Attention | Answer:
    weights = _guarded(softmax.outputs[0])
    reader = sole_reader(weights)
    if reader is None or not is_op(reader.node, "MatMul") or reader.index != 0:
        return False
    values = _cache(look, _repeated(look, reader.node.inputs[1]))
    if values is None:
        return False
    default = -1 if look.opset >= _ALONG_THE_LAST else 1
    if softmax.attributes.get_int("axis", default) not in (-1, 3):
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
    keys = _cache(look, _repeated(look, stored))
    query, outer = _unscaled(product.inputs[0])
    heads = _size(look, query, 1)
    if keys is None or query is None or heads is None:
        return f"{where(product)}: the keys are in no cache, or sizes are not known"
    factor *= scale * inner * outer
    guarded = weights is not softmax.outputs[0] and mask is not None
    return Attention(query, heads, keys, values, factor, mask, reader.node, guarded)


def _objections(found: Attention, look: Symbols) -> Iterator[str]:
    keys, values = found.keys, found.values
    place = where(found.product)
    if (keys.heads, keys.channels) != (values.heads, values.channels):
        yield f"{place}: keys and values differ in heads or channels"
    if keys.channels % _STEP_OF_CHANNELS:
        yield f"{place}: the kernel takes heads of a multiple of {_STEP_OF_CHANNELS} channels only"
    if found.query_heads % keys.heads or _size(look, found.query, 3) != keys.channels:
        yield f"{place}: the heads of queries are no multiple of those of keys"
    mask = found.mask
    shape = look.shape(mask)
    one = _size(look, found.query, 2) == 1
    if mask is not None and (shape is None or len(shape) != 4 or 1 in shape[3 if one else 2 :]):
        yield f"{place}: the mask is not [batch, heads, tokens, all tokens]"
    if found.guarded and _size(look, mask, 1) != 1:
        yield f"{place}: heads have masks of their own, and rows without any token come to zeros"
    concats = {keys.concat, values.concat}
    given = [found.query, keys.new, values.new, *([] if mask is None else [mask])]
    if _hangs_on(given, concats):
        yield f"{place}: what it reads hangs on the cache that it writes"


def _guarded(weights: ir.Value) -> ir.Value:
    """The weights with zeros for what is no number; the weights themselves without such a guard."""
    tests = [use.node for use in weights.uses() if is_op(use.node, "IsNaN")]
    choice = sole_reader(tests[0].outputs[0]) if len(tests) == 1 else None
    if choice is None or choice.index != 0 or not is_op(choice.node, "Where"):
        return weights
    _, zero, otherwise = choice.node.inputs
    readers = {use.node for use in weights.uses()}
    alone = readers == {tests[0], choice.node} and otherwise is weights
    return choice.node.outputs[0] if alone and constants.scalar(zero) == 0.0 else weights


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


def _repeated(look: Symbols, value: ir.Value | None) -> ir.Value | None:
    """What each head of ``value`` is a copy of; the value itself where none is repeated."""
    reshape = produced_by(value, "Reshape")
    expand = produced_by(reshape.inputs[0], "Expand") if reshape is not None else None
    unsqueeze = produced_by(expand.inputs[0], "Unsqueeze") if expand is not None else None
    if reshape is None or expand is None or unsqueeze is None:
        return value
    source, wide = unsqueeze.inputs[0], expand.outputs[0]
    heads, copies, channels = _size(look, wide, 1), _size(look, wide, 2), _size(look, wide, 4)
    if heads is None or copies is None or ints(unsqueeze, 1, "axes") != (2,):
        return value
    whole = reshape.outputs[0]
    if heads != _size(look, source, 1) or _size(look, whole, 1) != heads * copies:
        return value
    return source if channels is not None and _size(look, whole, 3) == channels else value


def _cache(look: Symbols, value: ir.Value | None) -> Cache | None:
    concat = produced_by(value, "Concat")
    if concat is None or value is None or not value.is_graph_output() or len(concat.inputs) != 2:
        return None
    past, new = concat.inputs
    if past is None or new is None or not past.is_graph_input():
        return None
    heads, channels = _size(look, past, 1), _size(look, past, 3)
    if heads is None or channels is None or concat.attributes.get_int("axis", 0) not in (2, -2):
        return None
    return Cache(past, new, concat, heads, channels)


def _size(look: Symbols, value: ir.Value | None, axis: int) -> int | None:
    """The size of one of several axes, if it is known."""
    shape = look.shape(value)
    size = None if shape is None or len(shape) <= axis else shape[axis]
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
