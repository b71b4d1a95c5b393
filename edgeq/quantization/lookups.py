"""Stores the tables that a model only looks rows up in, embeddings above all, in 8 bits.

A row that is looked up is multiplied by its scale: Gather, Cast and Mul of the ONNX standard, where
DequantizeLinear in front of Gather would compute the whole table back in every run. Nothing is
gained in time; the file and the memory of the table shrink to a quarter.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op, name_of, node_name
from edgeq.quantization import affine
from edgeq.types import QuantSpec, QuantType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.recipe import Recipe
    from edgeq.types import Array

FEWEST: Final = 65_536
"""Numbers of a table below which three more nodes are not worth it."""

NARROWEST: Final = 16
"""Numbers of a row below which it is no embedding: coordinates want more than 8 bits."""

_SPEC: Final = QuantSpec(QuantType.INT8, symmetric=True, axis=0)


def store_lookups(model: ir.Model, recipe: Recipe) -> tuple[str, ...]:
    """Let the model hold its tables in int8, symmetric, with a scale for each row.

    Args:
        model: Changed in place. Values keep their names.
        recipe: Names the Gather nodes whose tables stay float.

    Returns:
        What the user should hear: a sentence for each table.
    """
    names = rewire.Names(model)
    readers: dict[ir.Value, list[ir.Node]] = defaultdict(list)
    for node in walk.nodes(model):
        source = node.inputs[0] if node.inputs else None
        if source is not None and _looks_up(node, source):
            readers[source].append(node)
    told = []
    for table, gathers in readers.items():
        excluded = any(recipe.excludes(node_name(node), node.op_type) for node in gathers)
        data = constants.array(table)
        if excluded or data is None or not _is_only_looked_up(table) or not np.isfinite(data).all():
            continue
        _store(table, data, gathers, names)
        shape = " x ".join(str(size) for size in data.shape)
        told.append(f"The {shape} table {name_of(table)} is stored in 8 bits, a scale for each row")
    rewire.drop_unused_initializers(model)
    return tuple(told)


def _looks_up(node: ir.Node, source: ir.Value) -> bool:
    if not is_op(node, "Gather") or node.attributes.get_int("axis", 0) != 0:
        return False
    tensor = constants.tensor(source)
    if tensor is None or tensor.dtype is not ir.DataType.FLOAT:
        return False
    shape = tensor.shape.numpy()
    return len(shape) > 1 and tensor.size >= FEWEST and math.prod(shape[1:]) >= NARROWEST


def _is_only_looked_up(table: ir.Value) -> bool:
    uses = table.uses()
    return not table.is_graph_output() and all(
        use.idx == 0 and _looks_up(use.node, table) for use in uses
    )


def _store(table: ir.Value, data: Array, gathers: Sequence[ir.Node], names: rewire.Names) -> None:
    """Put what reads a table behind its integers."""
    graph, name = table.graph, name_of(table)
    if not isinstance(graph, ir.Graph):
        raise ModelError("the constant belongs to no graph", where=f"value {name}")
    params = affine.params_for_weight(data, _SPEC)
    integers = affine.quantize(data, params)
    scales = params.scale.reshape(-1, *(1,) * (data.ndim - 1))
    stored = rewire.add_initializer(graph, names.value(f"{name}_quantized"), integers)
    scale = rewire.add_initializer(graph, names.value(f"{name}_scale"), scales)
    for node in gathers:
        _look_up(node, stored, scale, names)


def _look_up(node: ir.Node, stored: ir.Value, scale: ir.Value, names: rewire.Names) -> None:
    places, base = node.inputs[1], name_of(node.outputs[0])
    integers = ir.node("Gather", [stored, places], {"axis": 0})
    scales = ir.node("Gather", [scale, places], {"axis": 0})
    real = ir.node("Cast", integers.outputs, {"to": ir.DataType.FLOAT})
    scaled = ir.node("Mul", [real.outputs[0], scales.outputs[0]])
    made = {"rows": integers, "row_scales": scales, "rows_as_float": real, "scaled": scaled}
    for part, new in made.items():
        new.name = names.node(f"{base}_{part}")
        new.outputs[0].name = names.value(f"{base}_{part}")
        new.outputs[0].type = ir.TensorType(
            ir.DataType.INT8 if new is integers else ir.DataType.FLOAT
        )
    rewire.replace_node(node, list(made.values()), scaled.outputs)
