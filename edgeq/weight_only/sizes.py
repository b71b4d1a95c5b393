"""How large a model would be: matrix by matrix, with what scales and zero points add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.graph.split import tensors
from edgeq.recipe import Recipe
from edgeq.weight_only.blocks import stored_bytes
from edgeq.weight_only.scheme import SCHEME_BITS, BlockScheme
from edgeq.weight_only.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.weight_only.tables import Table

FLOAT, HALF = "fp32", "fp16"

FORMS: Final = (FLOAT, HALF, *SCHEME_BITS)
"""What sizes are told for."""


@dataclass(frozen=True, slots=True)
class MatrixSizes:
    """One matrix.

    Attributes:
        name: Name of its constant.
        nodes: Names of the nodes that read it.
        rows: Rows.
        columns: Columns: along these lie the blocks.
        copies: How often the model stores it now; blocks are stored once.
        bytes: By form.
    """

    name: str
    nodes: tuple[str, ...]
    rows: int
    columns: int
    copies: int
    bytes: Mapping[str, int]

    def bits(self, form: str) -> float:
        """Bits for each weight in a form, all included."""
        return 8.0 * self.bytes[form] / (self.rows * self.columns)


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """A whole model.

    Attributes:
        matrices: Those that can be stored in blocks, largest first.
        rest: Bytes of all other constants, by form: blocks do not change them.
        total: Bytes of all constants, by form.
    """

    matrices: tuple[MatrixSizes, ...]
    rest: Mapping[str, int]
    total: Mapping[str, int]


def model_sizes(model: ir.Model, *, halved: bool = False) -> ModelSizes:
    """What the constants of a prepared model take in every form, at default block sizes.

    Args:
        model: Not changed; no weight is read but where two may be tied.
        halved: Whether its constants came in half precision: what blocks leave is stored so again.
    """
    found = find_tables(model, Recipe()).tables
    everything = sum(table.size for table in found)
    matrices = [_matrix(table, everything) for table in found]
    held = sum(4 * m.rows * m.columns * m.copies for m in matrices)
    floats = sum(t.nbytes for t in tensors(model) if t.dtype.name == "FLOAT")
    others = sum(t.nbytes for t in tensors(model)) - floats
    plain = FORMS[:1] if halved else tuple(form for form in FORMS if form != HALF)
    rest = {form: others + (floats - held) // (1 if form in plain else 2) for form in FORMS}
    total = {form: rest[form] + sum(m.bytes[form] for m in matrices) for form in FORMS}
    ranked = sorted(matrices, key=lambda each: -each.bytes[FLOAT])
    return ModelSizes(tuple(ranked), rest, total)


def _matrix(table: Table, everything: int) -> MatrixSizes:
    copies = len({id(use.source) for use in table.uses})
    plain = 4 * table.size * copies
    sizes = {FLOAT: plain, HALF: plain // 2}
    for name in SCHEME_BITS:
        spec = BlockScheme(name, "rtn").spec(table, everything)
        stored = plain if spec is None else stored_bytes(spec, table.rows, table.columns)
        sizes[name] = stored
    names = tuple(use.node.name or "" for use in table.uses)
    return MatrixSizes(table.name, names, table.rows, table.columns, copies, sizes)
