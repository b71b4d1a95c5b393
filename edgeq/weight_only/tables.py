"""The matrices of a model that can be stored in blocks, and why others cannot."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.graph import constants, macs
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.runtime.memory import let_go
from edgeq.weight_only.routers import REASON, routers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.recipe import Recipe
    from edgeq.types import FloatArray

FEWEST: Final = 2048
"""Weights below which a matrix stays float: there is nothing to gain."""

_KEEPING: Final = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity")
"""Operators that leave numbers as they are."""

_OF_ANGLES: Final = ("Reshape", "Mul", "Div", "Cos", "Sin")
"""What :mod:`edgeq.passes.fuse_rotary` leaves between a table and RotaryEmbedding."""

_FLOATS: Final = ("FLOAT",)


@dataclass(frozen=True, eq=False, slots=True)
class Use:
    """One node that reads a matrix.

    Attributes:
        node: The node.
        input: Which of its inputs the matrix is.
        turned: Whether it is stored [columns, rows].
    """

    node: ir.Node
    input: int
    turned: bool

    @property
    def looks_up(self) -> bool:
        """Whether rows are looked up, rather than multiplied by."""
        return self.node.op_type == "Gather"

    @property
    def source(self) -> ir.Value:
        """The constant."""
        value = self.node.inputs[self.input]
        if value is None:
            raise ValueError(f"input {self.input} of {self.node.name!r} is missing")
        return value


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A matrix [rows, columns]; a row makes one output of a product, or is what is looked up.

    Attributes:
        name: Name of the constant that is read first.
        rows: Rows.
        columns: Columns: along these lie the blocks.
        uses: Who reads it, from whichever constants hold it: tied weights are one table.
    """

    name: str
    rows: int
    columns: int
    uses: tuple[Use, ...]

    @property
    def size(self) -> int:
        """Weights."""
        return self.rows * self.columns

    @property
    def looked_up_only(self) -> bool:
        """Whether nothing multiplies by it."""
        return all(use.looks_up for use in self.uses)

    @property
    def is_handed_out(self) -> bool:
        """Whether what it is multiplied by makes an output, but for a bias or another shape."""
        products = (use.node for use in self.uses if not use.looks_up)
        return any(_is_handed_out(node.outputs[0]) for node in products)

    def read(self) -> FloatArray:
        """The weights: float32 [rows, columns]."""
        return _rows(self.uses[0])

    def let_go(self) -> None:
        """Unmap what was read."""
        let_go(constants.tensor(self.uses[0].source))


@dataclass(frozen=True, slots=True)
class Found:
    """What of a model can be stored in blocks.

    Attributes:
        tables: The matrices, in the order of the graph.
        decisions: Why the other nodes that multiply or look up stay as they are.
    """

    tables: tuple[Table, ...]
    decisions: Mapping[str, NodeDecision]


def find_tables(model: ir.Model, recipe: Recipe) -> Found:
    """Find the matrices of MatMul, Gemm and Gather nodes, bodies included.

    Args:
        model: A prepared model; not changed.
        recipe: Names what stays float.
    """
    uses: list[Use] = []
    decisions: dict[str, NodeDecision] = {}
    routing = routers(model)
    for node in nodes(model):
        if not (macs.is_compute(node) or is_op(node, "Gather")):
            continue
        use: Use | str = REASON if node in routing else _use(node, recipe)
        if isinstance(use, Use):
            uses.append(use)
        elif use:
            name = node_name(node)
            decisions[name] = NodeDecision(name, node.op_type, NodeForm.FLOAT, use)
    return Found(tuple(_table(group) for group in _tied(uses)), decisions)


def _use(node: ir.Node, recipe: Recipe) -> Use | str:
    """The use of a matrix by ``node``, or why there is none; empty where nobody would ask."""
    if is_op(node, "Gather"):
        found: Use | str = _lookup(node)
    elif is_op(node, "MatMul"):
        found = _product(node)
    elif is_op(node, "Gemm"):
        found = _gemm(node)
    else:
        found = f"no kernel multiplies weights in blocks for {node.op_type}"
    if isinstance(found, Use) and recipe.excludes(node_name(node), node.op_type):
        return "excluded by the user"
    return found


def _lookup(node: ir.Node) -> Use | str:
    tensor = constants.tensor(node.inputs[0])
    if tensor is None or tensor.dtype.name not in _FLOATS:
        return ""
    if len(tensor.shape) != 2 or node.attributes.get_int("axis", 0) != 0:
        return ""
    if tensor.size < FEWEST:
        return f"its {tensor.size} numbers are too few to gain anything"
    if _turns(node.outputs[0]):
        return "it holds the angles of rotations, whose errors reach every layer"
    return Use(node, 0, turned=False)


def _turns(value: ir.Value) -> bool:
    """Whether angles that RotaryEmbedding reads are computed of a value."""
    return any(
        (use.node.op_type == "RotaryEmbedding" and use.idx > 1)
        or (is_op(use.node, *_OF_ANGLES) and _turns(use.node.outputs[0]))
        for use in value.uses()
    )


def _product(node: ir.Node) -> Use | str:
    left, right = (constants.tensor(value) for value in node.inputs[:2])
    if right is None:
        if left is not None and len(left.shape) >= 2:
            return "its weights are the first factor, and the kernel takes the second one"
        return "both factors are computed, neither is a constant"
    return _matrix(node, right, turned=True)


def _gemm(node: ir.Node) -> Use | str:
    tensor = constants.tensor(node.inputs[1])
    if tensor is None:
        return "its weights are computed, not constant"
    if node.attributes.get_int("transA", 0):
        return "it transposes its input, which no kernel with weights in blocks does"
    if (
        node.attributes.get_float("alpha", 1.0) != 1.0
        or node.attributes.get_float("beta", 1.0) != 1
    ):
        return "it scales its product or its bias, which no kernel with weights in blocks does"
    return _matrix(node, tensor, turned=not node.attributes.get_int("transB", 0))


def _matrix(node: ir.Node, tensor: ir.TensorProtocol, *, turned: bool) -> Use | str:
    if tensor.dtype.name not in _FLOATS:
        return f"its weights are {tensor.dtype.name.lower()}, not float32"
    if len(tensor.shape) != 2:
        return f"its weights have {len(tensor.shape)} axes, and the kernel takes a matrix"
    if tensor.size < FEWEST:
        return f"its {tensor.size} weights are too few to gain anything"
    return Use(node, 1, turned=turned)


def _is_handed_out(value: ir.Value) -> bool:
    while not value.is_graph_output():
        uses = tuple(value.uses())
        if len(uses) != 1:
            return False
        node, place = uses[0].node, uses[0].idx
        biased = is_op(node, "Add") and constants.is_constant(node.inputs[1 - place])
        if not biased and not (is_op(node, *_KEEPING) and place == 0):
            return False
        value = node.outputs[0]
    return True


def _rows(use: Use) -> FloatArray:
    data = constants.array(use.source)
    if data is None:
        raise ValueError(f"{name_of(use.source)!r} is no constant")
    real: FloatArray = data.astype(np.float32, copy=False)
    return real.T if use.turned else real


def _shape(use: Use) -> tuple[int, int]:
    tensor = constants.tensor(use.source)
    if tensor is None:
        raise ValueError(f"{name_of(use.source)!r} is no constant")
    first, second = (int(d) for d in tensor.shape.numpy())
    return (second, first) if use.turned else (first, second)


def _table(uses: tuple[Use, ...]) -> Table:
    rows, columns = _shape(uses[0])
    return Table(name_of(uses[0].source), rows, columns, uses)


def _tied(uses: Sequence[Use]) -> list[tuple[Use, ...]]:
    """Uses of equal matrices together, also of one that is stored turned beside the other."""
    by_shape: dict[tuple[int, int], list[Use]] = defaultdict(list)
    for use in uses:
        by_shape[_shape(use)].append(use)
    groups: dict[tuple[object, ...], list[Use]] = {}
    for use in uses:
        shape = _shape(use)
        sources = {id(other.source) for other in by_shape[shape]}
        key = _digest(use) if len(sources) > 1 else id(use.source)
        groups.setdefault((shape, key), []).append(use)
    return [tuple(group) for group in groups.values()]


def _digest(use: Use) -> bytes:
    """Of the matrix in one order, however it is stored."""
    digest = hashlib.sha256()
    rows = _rows(use)
    step = max(1, (1 << 20) // max(rows.shape[1], 1))
    for start in range(0, rows.shape[0], step):
        digest.update(np.ascontiguousarray(rows[start : start + step]).tobytes())
    del rows
    let_go(constants.tensor(use.source))
    return digest.digest()
