"""Shapes, and contents of shape vectors, with symbols for what differs from run to run.

ONNX's own inference forgets a size as soon as it has been through Shape, Gather and Reshape. Here a
dimension keeps its symbol through them, so that a size is recognised where it comes back. A shape
is told by the operators' rules first (:mod:`symbolic_shapes`), then by what inference has stored; a
dimension that neither knows is a symbol of its own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from edgeq.graph import constants, walk
from edgeq.graph.shapes import is_vague
from edgeq.graph.walk import is_op
from edgeq.passes import dims, pattern
from edgeq.passes.declared_sizes import parse
from edgeq.passes.symbolic_elements import ELEMENT_RULES, LONGEST
from edgeq.passes.symbolic_shapes import SHAPE_RULES

if TYPE_CHECKING:
    from edgeq.passes.dims import Size
    from edgeq.types import Array

Shape: TypeAlias = "tuple[Size, ...]"
Elements: TypeAlias = "tuple[Size | None, ...]"
"""Content of a scalar or vector; None where an element is not told."""

_TOLD = frozenset(
    {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL, ir.DataType.FLOAT,
     ir.DataType.DOUBLE}
)  # fmt: skip
"""Types whose elements are followed. Floats hold sizes exactly as long as these are below 2**24."""


class Symbols:
    """What is known about shapes all over a model, as it is when this is made.

    Args:
        model: Read, not changed. Later edits are fine for values that were there before.
    """

    def __init__(self, model: ir.Model) -> None:
        self.opset = pattern.opset(model)
        self._named = _names(model.graph)
        self._shapes: dict[ir.Value, Shape | None] = {}
        self._elements: dict[ir.Value, Elements | None] = {}
        for node in walk.nodes(model):
            self._visit(node)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value; None when not even its rank is known."""
        if value is None:
            return None
        if value not in self._shapes:
            self._shapes[value] = self._declared(value)
        return self._shapes[value]

    def elements(self, value: ir.Value | None) -> Elements | None:
        """The elements of a scalar or vector of numbers; None for anything else."""
        if value is None:
            return None
        found = self._elements.get(value)
        if found is not None or (value.producer() is not None and not constants.is_constant(value)):
            return found
        return _constant_elements(value)

    def learn(self, value: ir.Value, shape: Shape) -> None:
        """Tell the shape of a value that came later."""
        self._shapes[value] = shape

    def _visit(self, node: ir.Node) -> None:
        rule = SHAPE_RULES.get(node.op_type) if is_op(node, node.op_type) else None
        told = rule(node, self) if rule is not None and node.inputs else None
        for index, value in enumerate(node.outputs):
            shape = told[index] if told is not None and index < len(told) else None
            self._shapes[value] = self._settled(value, shape)
        compute = ELEMENT_RULES.get(node.op_type) if is_op(node, node.op_type) else None
        if compute is None or not node.inputs or node.outputs[0].dtype not in _TOLD:
            return
        for value, elements in zip(node.outputs, compute(node, self), strict=False):
            self._store(value, elements)

    def _store(self, value: ir.Value, elements: Elements | None) -> None:
        shape = self._shapes.get(value)
        if elements is None or shape is None or len(shape) > 1 or len(elements) > LONGEST:
            return
        if shape and shape[0] != len(elements) and isinstance(shape[0], int):
            return
        if not shape and len(elements) != 1:
            return
        self._elements[value] = elements

    def _settled(self, value: ir.Value, told: tuple[Size | None, ...] | None) -> Shape | None:
        """What a rule tells, completed by what is stored."""
        if told is None:
            return self._declared(value)
        stored: tuple[int | ir.SymbolicDim | None, ...] = tuple(value.shape or ())
        if len(stored) != len(told):
            stored = (None,) * len(told)
        return tuple(
            self._agreed(value, axis, new, old)
            for axis, (new, old) in enumerate(zip(told, stored, strict=True))
        )

    def _agreed(
        self, value: ir.Value, axis: int, told: Size | None, stored: int | ir.SymbolicDim | None
    ) -> Size:
        fixed = stored if isinstance(stored, int) and stored >= 0 else None
        if told is None and fixed is not None:
            return fixed
        # Files that were made dynamic behind the exporter's back still store their old sizes.
        if told is None or (isinstance(told, int) and fixed not in (None, told)):
            return dims.symbol(f"{value.name}[{axis}]")
        return told

    def _declared(self, value: ir.Value) -> Shape | None:
        if value.shape is None:
            return None
        return tuple(self._dim(value, axis, dim) for axis, dim in enumerate(value.shape))

    def _dim(self, value: ir.Value, axis: int, dim: int | ir.SymbolicDim) -> Size:
        if isinstance(dim, int):
            return dim if dim >= 0 else dims.symbol(f"{value.name}[{axis}]")
        if dim.value in self._named and not value.is_graph_output():
            return parse(str(dim.value), self._named)
        return dims.symbol(f"{value.name}[{axis}]")


def reshape_target(wanted: Elements, data: Shape) -> list[int] | None:
    """Numbers that mean the same as ``wanted`` to a Reshape of data of that shape.

    Returns:
        0 where a dimension is copied, -1 where the only open one is computed; None when two are
        open.
    """
    target = []
    for axis, size in enumerate(wanted):
        if isinstance(size, int):
            target.append(size)
        else:
            target.append(0 if axis < len(data) and size == data[axis] else -1)
    return None if target.count(-1) > 1 or min(target, default=0) < -1 else target


def _names(graph: ir.Graph) -> frozenset[str]:
    """Names of sizes of the model's inputs that tell equal sizes."""
    found: set[str] = set()
    doubtful: set[str] = set()
    for value in graph.inputs:
        symbolic = [d.value for d in value.shape or () if isinstance(d, ir.SymbolicDim)]
        counts = Counter(name for name in symbolic if name is not None)
        found |= set(counts)
        doubtful |= {name for name, count in counts.items() if count > 1}
    return frozenset(n for n in found - doubtful if not is_vague(n))


def _constant_elements(value: ir.Value) -> Elements | None:
    tensor = constants.tensor(value)
    if tensor is None or tensor.dtype not in _TOLD:
        return None
    if len(tensor.shape) > 1 or tensor.size > LONGEST:
        return None
    array: Array = tensor.numpy().reshape(-1)
    if array.dtype.kind == "f":
        return tuple(_exact(float(i)) for i in array)
    return tuple(int(i) for i in array)


def _exact(value: float) -> Size | None:
    """A float that is a short binary fraction: its multiples of sizes are exact."""
    if value != value or abs(value) > 2**12 or value * 2**8 != int(value * 2**8):
        return None
    return dims.number(value)
