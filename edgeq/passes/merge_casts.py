"""Merges Casts that follow one another, where the first loses nothing.

What is widened and then narrowed again needs no Cast at all. A first Cast that may lose something
stays: float32 to float16 and back rounds, int64 to int32 and back wraps around.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import produced_by

if TYPE_CHECKING:
    from edgeq.passes.outcome import Answer

_T = ir.DataType
_REALS = frozenset({_T.FLOAT, _T.DOUBLE})
_HOLDS: Final = {
    _T.BOOL: _REALS
    | {_T.FLOAT16, _T.BFLOAT16, _T.INT8, _T.UINT8, _T.INT16, _T.UINT16, _T.INT32, _T.UINT32,
       _T.INT64, _T.UINT64},
    _T.UINT8: _REALS
    | {_T.FLOAT16, _T.INT16, _T.UINT16, _T.INT32, _T.UINT32, _T.INT64, _T.UINT64},
    _T.INT8: _REALS | {_T.FLOAT16, _T.INT16, _T.INT32, _T.INT64},
    _T.UINT16: _REALS | {_T.INT32, _T.UINT32, _T.INT64, _T.UINT64},
    _T.INT16: _REALS | {_T.INT32, _T.INT64},
    _T.INT32: frozenset({_T.INT64, _T.DOUBLE}),
    _T.UINT32: frozenset({_T.INT64, _T.UINT64, _T.DOUBLE}),
    _T.FLOAT16: _REALS,
    _T.BFLOAT16: _REALS,
    _T.FLOAT: frozenset({_T.DOUBLE}),
}  # fmt: skip
"""A type -> the types that hold each of its numbers."""


def merge_casts(model: ir.Model) -> Outcome:
    """Let the second of two Casts read what the first one reads."""
    return Outcome.of([_merge(node) for node in walk.nodes(model) if is_op(node, "Cast")])


def _merge(node: ir.Node) -> Answer:
    between = node.inputs[0]
    first = produced_by(between, "Cast")
    source = None if first is None else first.inputs[0]
    if first is None or between is None or source is None or source.dtype is None:
        return False
    if node.outputs[0].dtype in (None, _T.STRING):
        return False
    if between.dtype not in _HOLDS.get(source.dtype, frozenset()):
        return False
    node.replace_input_with(0, source)
    if first.graph is not None and not between.uses() and not between.is_graph_output():
        rewire.remove(first)
    return True
