"""Which matrices will suffer from few bits, foretold from their weights alone.

Blocks that cover their extremes lose most where a few weights are far from the rest: rounding then
is as coarse as those need. How much that is is computed, not modelled: rows are rounded to nearest
and compared, and the same is done to normally distributed numbers of that shape for a yardstick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeq.recipe import Recipe
from edgeq.weight_only.methods import quantize_rows, relative_error
from edgeq.weight_only.scheme import SCHEME_BITS, BlockScheme
from edgeq.weight_only.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.types import FloatArray
    from edgeq.weight_only.blocks import BlockSpec
    from edgeq.weight_only.tables import Table

_ROWS: Final = 128
"""Rows that are looked at, at equal distances. Of 576 columns that is 74 thousand weights: the
error found then is within 0.1 dB of that of all rows."""

_WORSE_DB: Final = 2.0
"""How far below normally distributed weights a matrix stands out: a third of a bit."""

_EXACT_DB: Final = 200.0


@dataclass(frozen=True, slots=True)
class MatrixOutlook:
    """What is foretold of one matrix.

    Attributes:
        name: Name of its constant.
        nodes: Names of the nodes that read it.
        rows: Rows.
        columns: Columns.
        kurtosis: Fourth moment over the squared second, less 3: 0 for normally distributed weights,
            above for those with outliers.
        sqnr_db: SQNR of the weights by scheme, rounded to nearest in blocks of its default size.
        behind_db: By how much that is below the same of normally distributed weights.
    """

    name: str
    nodes: tuple[str, ...]
    rows: int
    columns: int
    kurtosis: float
    sqnr_db: Mapping[str, float]
    behind_db: Mapping[str, float]

    @property
    def suffers(self) -> tuple[str, ...]:
        """The schemes at which it loses clearly more than weights without outliers do."""
        return tuple(name for name, behind in self.behind_db.items() if behind >= _WORSE_DB)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return {
            "name": self.name,
            "nodes": list(self.nodes),
            "shape": [self.rows, self.columns],
            "kurtosis": round(self.kurtosis, 3),
            "sqnr_db": {name: round(db, 2) for name, db in self.sqnr_db.items()},
            "behind_normal_db": {name: round(db, 2) for name, db in self.behind_db.items()},
            "suffers": list(self.suffers),
        }


def weight_outlook(model: ir.Model) -> tuple[MatrixOutlook, ...]:
    """What is foretold of every matrix that can be stored in blocks, the worst at 4 bits first.

    Args:
        model: A prepared model; not changed.
    """
    found = [_outlook(table) for table in find_tables(model, Recipe()).tables]
    return tuple(sorted(found, key=lambda each: each.sqnr_db.get("w4", _EXACT_DB)))


def _outlook(table: Table) -> MatrixOutlook:
    some = np.ascontiguousarray(table.read()[:: max(1, table.rows // _ROWS)][:_ROWS])
    table.let_go()
    found, behind = {}, {}
    for scheme, bits in SCHEME_BITS.items():
        spec = BlockScheme(scheme, "rtn").of_bits(table, bits)
        if spec is not None:
            found[scheme] = _sqnr_db(some, spec)
            behind[scheme] = _normal_db(spec, table.columns) - found[scheme]
    names = tuple(use.node.name or "" for use in table.uses)
    return MatrixOutlook(
        table.name, names, table.rows, table.columns, _kurtosis(some), found, behind
    )


def _sqnr_db(rows: FloatArray, spec: BlockSpec) -> float:
    error = relative_error(rows, quantize_rows(rows, spec, "rtn"))
    return min(_EXACT_DB, -10.0 * math.log10(error)) if error > 0 else _EXACT_DB


@cache
def _normal_db(spec: BlockSpec, columns: int) -> float:
    drawn = np.random.default_rng(0).standard_normal((_ROWS, columns)).astype(np.float32)
    return _sqnr_db(drawn, spec)


def _kurtosis(rows: FloatArray) -> float:
    wide = rows.astype(np.float64)
    wide -= wide.mean()
    second = float((wide**2).mean())
    return float((wide**4).mean()) / second**2 - 3.0 if second > 0 else 0.0
