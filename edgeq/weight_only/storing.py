"""Stores the matrices of a model in blocks, one after the other in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeq.graph import rewire
from edgeq.graph.walk import node_name
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.weight_only.blocks import stored_bytes
from edgeq.weight_only.methods import (
    AUTO,
    WITHOUT_DATA,
    applicable,
    method_named,
    quantize_rows,
    relative_error,
)
from edgeq.weight_only.operators import OperatorForm
from edgeq.weight_only.scheme import STANDARD
from edgeq.weight_only.standard import StandardForm
from edgeq.weight_only.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.recipe import Recipe
    from edgeq.weight_only.blocks import BlockMatrix, BlockSpec
    from edgeq.weight_only.moment import Moment
    from edgeq.weight_only.scheme import BlockScheme
    from edgeq.weight_only.tables import Table


class Moments(Protocol):
    """Knows what the layers read."""

    def of(self, table: Table) -> Moment | None:
        """What is multiplied by the table, those before it settled; None where nothing is."""
        ...

    def settle(self, table: Table, matrix: BlockMatrix) -> None:
        """Tell what a table is stored as; tables come in their order."""
        ...


@dataclass(frozen=True, slots=True)
class StoredTable:
    """What became of a matrix.

    Attributes:
        name: Name of its constant.
        nodes: Names of the nodes that read it.
        op_types: Their operators.
        spec: Bits, block size and symmetry.
        method: How its integers were found.
        error: Energy of the error over that of the signal: of the layer's outputs where there is
            data, else of the weights.
        weights: How many there are.
        bytes: Of integers, scales and zero points.
    """

    name: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    spec: BlockSpec
    method: str
    error: float
    weights: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A model whose matrices are stored in blocks.

    Attributes:
        tables: What became of each matrix.
        decisions: What became of each node that multiplies or looks up, and why.
    """

    tables: tuple[StoredTable, ...]
    decisions: tuple[NodeDecision, ...]


def store_in_blocks(
    model: ir.Model,
    scheme: BlockScheme,
    recipe: Recipe,
    moments: Moments | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    mixed: Mapping[str, int] | None = None,
) -> Outcome:
    """Replace the matrices of a model by blocks.

    Args:
        model: A prepared model; changed in place.
        scheme: How to store them.
        recipe: Names what stays float.
        moments: What the layers read; None without data.
        progress: Called with the matrices done, and how many there are.
        mixed: Bits of matrices by name, where they are not those of the scheme.

    Raises:
        RecipeError: The method needs data, or a pattern matches nothing.
    """
    found = find_tables(model, recipe)
    scheme.require_meant([node_name(use.node) for t in found.tables for use in t.uses])
    form = StandardForm(model) if scheme.format == STANDARD else OperatorForm(model)
    decisions = dict(found.decisions)
    stored: list[StoredTable] = []
    everything = sum(table.size for table in found.tables)
    for count, table in enumerate(found.tables):
        spec = scheme.spec(table, everything)
        if mixed and table.name in mixed:
            spec = scheme.of_bits(table, mixed[table.name])
        decided = _decide(table, spec)
        decisions |= {decision.node: decision for decision in decided}
        if spec is not None:
            # More bits than the scheme's leave nothing to learn.
            asked = moments if spec.bits <= scheme.bits else None
            moment = None if asked is None else asked.of(table)
            method, matrix, error = _best(table, spec, scheme.method, moment)
            table.let_go()
            if moments is not None:
                moments.settle(table, matrix)
            form.insert(table, matrix)
            stored.append(_row(decided, table, matrix, method, error))
            rewire.drop_unused_initializers(model)
        if progress is not None:
            progress(count + 1, len(found.tables))
    return Outcome(tuple(stored), tuple(decisions.values()))


def _decide(table: Table, spec: BlockSpec | None) -> list[NodeDecision]:
    form = NodeForm.BLOCKS if spec is not None else NodeForm.FLOAT
    why = "" if spec is not None else f"no block size divides its {table.columns} columns"
    return [NodeDecision(node_name(u.node), u.node.op_type, form, why) for u in table.uses]


def _row(
    decided: Sequence[NodeDecision], table: Table, matrix: BlockMatrix, method: str, error: float
) -> StoredTable:
    names, ops = zip(*((d.node, d.op_type) for d in decided), strict=True)
    size = stored_bytes(matrix.spec, table.rows, table.columns)
    return StoredTable(table.name, names, ops, matrix.spec, method, error, table.size, size)


def _best(
    table: Table, spec: BlockSpec, method: str, moment: Moment | None
) -> tuple[str, BlockMatrix, float]:
    """The integers of the method, or of the best of several by the error it leaves."""
    weights = table.read()
    best: tuple[str, BlockMatrix, float] | None = None
    for name in _methods(method, moment):
        matrix = quantize_rows(weights, spec, name, moment)
        error = relative_error(weights, matrix, moment)
        if best is None or error < best[2]:
            best = (name, matrix, error)
    if best is None:
        raise ValueError("there is no method")
    return best


def _methods(method: str, moment: Moment | None) -> tuple[str, ...]:
    """What to try: where no input was seen, as of a lookup, there is nothing to learn from."""
    if moment is None and method != AUTO and method_named(method).needs_data:
        return (WITHOUT_DATA,)
    return applicable(method, has_data=moment is not None)
