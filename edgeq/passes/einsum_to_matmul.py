"""Writes an Einsum with a weight as the matrix product that it is.

Keras exports dense layers over several axes as Einsum, and integer kernels know MatMul only. Taken
are equations in which the data's contracted axes come last, and the weight's own axes come last in
the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op, name_of
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import constant_operand, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer
    from edgeq.passes.pattern import ConstantOperand
    from edgeq.types import Array


@dataclass(frozen=True, slots=True)
class _Product:
    """An equation read as ``kept + contracted, weight -> kept + own``.

    Attributes:
        kept: Axes of the data that the result has too.
        contracted: Axes that are summed over, in the data's order.
        own: Axes that only the weight has, in the result's order.
        weight: Axes of the weight, in its order.
    """

    kept: str
    contracted: str
    own: str
    weight: str


def einsum_to_matmul(model: ir.Model) -> Outcome:
    """Turn every Einsum of one constant that has this form into Reshape, MatMul, Reshape."""
    names = rewire.Names(model)
    return Outcome.of([_rewrite(n, names) for n in walk.nodes(model) if is_op(n, "Einsum")])


def _rewrite(node: ir.Node, names: Names) -> Answer:
    operand = constant_operand(node)
    if operand is None:
        return False
    product = _read(node.attributes.get_string("equation", ""), data_first=operand.data_first)
    if product is None or operand.array.ndim != len(product.weight):
        return f"{where(node)}: its equation is no product of rows with a matrix"
    _replace(node, operand, product, names)
    return True


def _read(equation: str, *, data_first: bool) -> _Product | None:
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in equation:
        return None
    data, weight = terms if data_first else reversed(terms)
    contracted = "".join(axis for axis in data if axis not in result)
    kept = data[: len(data) - len(contracted)]
    own = result[len(kept) :]
    simple = all(len(set(term)) == len(term) for term in (data, weight, result))
    fits = data == kept + contracted and result == kept + own
    if not (simple and fits and kept and contracted and own):
        return None
    return _Product(kept, contracted, own, weight) if set(weight) == {*contracted, *own} else None


def _replace(node: ir.Node, operand: ConstantOperand, product: _Product, names: Names) -> None:
    base, output = node.name or "einsum", node.outputs[0]
    order = [product.weight.index(axis) for axis in product.contracted + product.own]
    matrix = operand.array.transpose(order)
    split = len(product.contracted)
    inner, outer = matrix.shape[:split], matrix.shape[split:]
    weight = edits.constant(
        node, matrix.reshape(math.prod(inner), math.prod(outer)), names, f"{base}_weight"
    )
    data = operand.data
    if len(inner) > 1:
        data = _reshape(node, data, product, (math.prod(inner),), names)
    result = edits.add_node(node, "MatMul", [data, weight], names, f"{base}_product")
    if len(outer) > 1:
        result = _reshape(node, result, product, outer, names)
    result.type, result.shape = output.type, output.shape
    rewire.take_place(output, result)
    rewire.remove(node)


def _reshape(
    node: ir.Node, value: ir.Value, product: _Product, last: tuple[int, ...], names: Names
) -> ir.Value:
    """``value`` with other last axes; the kept ones are copied, whatever their size."""
    target: Array = np.array([*[0] * len(product.kept), *last], np.int64)
    shape = edits.constant(node, target, names, f"{name_of(value)}_shape")
    return edits.add_node(node, "Reshape", [value, shape], names, f"{name_of(value)}_reshaped")
