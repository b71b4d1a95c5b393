"""Which matrices play the same part in a model, by where their products go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import onnx_ir as ir

    from edgeq.weight_only.tables import Table

_STEPS: Final = 5
"""How far products are followed: the keys and the values of an attention part behind a bias, two
changes of shape and a product."""


def alike(tables: Sequence[Table], most: int) -> list[list[Table]]:
    """The matrices in groups: neighbours that play the same part, as small ones as can be.

    Args:
        tables: In the order of the graph.
        most: Groups at most. Where there are more parts than that, a group has several.
    """
    surroundings = _Surroundings()
    parts: dict[Hashable, list[Table]] = {}
    for table in tables:
        parts.setdefault(surroundings.part(table), []).append(table)
    if len(parts) > most:
        return list(_in_groups(tables, -(-len(tables) // most)))
    size = 1
    while sum(-(-len(part) // size) for part in parts.values()) > most:
        size += 1
    return [group for part in parts.values() for group in _in_groups(part, size)]


def _in_groups(tables: Sequence[Table], size: int) -> Iterator[list[Table]]:
    for start in range(0, len(tables), size):
        yield list(tables[start : start + size])


class _Surroundings:
    """Tells where products go; what it found is kept, as values have many readers."""

    def __init__(self) -> None:
        self._known: dict[tuple[ir.Value, int], Hashable] = {}

    def part(self, table: Table) -> Hashable:
        """The same for matrices that play the same part."""
        products = (use.node for use in table.uses)
        readers = tuple((node.op_type, self._behind(node.outputs[0], _STEPS)) for node in products)
        return table.rows, table.columns, readers

    def _behind(self, value: ir.Value, steps: int) -> Hashable:
        """The operators that read a value, through which input, and those behind them."""
        if not steps:
            return ()
        if (value, steps) not in self._known:
            self._known[value, steps] = frozenset(
                (use.node.op_type, use.idx, *(self._behind(v, steps - 1) for v in use.node.outputs))
                for use in value.uses()
            )
        return self._known[value, steps]
