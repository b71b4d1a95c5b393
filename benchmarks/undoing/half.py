"""Weights stored in half precision, as files are that were made small by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from undoing.pen import floats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.types import Array
    from undoing.pen import Pen

_SMALLEST = 8
"""Elements from which a constant counts as a weight."""


def rounded(pen: Pen) -> int:
    """Round every weight to half precision, still stored as float32: the twin of ``half``."""
    found = list(_weights(pen))
    for _, value, data in found:
        value.const_value = ir.Tensor(_half(data).astype(np.float32), name=value.name)
    return len(found)


def half(pen: Pen) -> int:
    """Store every weight as float16, and a Cast to float32 behind it."""
    found = list(_weights(pen))
    for graph, value, data in found:
        uses = [(use.node, use.idx) for use in value.uses()]
        stored = pen.constant(graph, _half(data), f"{value.name}_half")
        line = pen.before(graph[0])
        cast = line("Cast", stored, to=ir.DataType.FLOAT)
        for node, index in uses:
            node.replace_input_with(index, cast)
        del graph.initializers[value.name or ""]
    return len(found)


def _weights(pen: Pen) -> Iterator[tuple[ir.Graph, ir.Value, Array]]:
    for graph in pen.model.graphs():
        for value in list(graph.initializers.values()):
            data = floats(value)
            if data is not None and data.size >= _SMALLEST and not value.is_graph_output():
                yield graph, value, data


def _half(data: Array) -> Array:
    limit = float(np.finfo(np.float16).max)
    return np.clip(data, -limit, limit).astype(np.float16)
