"""What layers of the float model read: second moments, collected in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.graph.expose import expose
from edgeq.graph.walk import name_of
from edgeq.runtime.session import Session, SessionConfig
from edgeq.weight_only.moment import Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, Sample
    from edgeq.weight_only.tables import Table

_MEMORY: Final = 128_000_000
"""Bytes of moments that are collected in one pass over the samples; a larger one goes alone."""

_TOGETHER: Final = 256
"""Inputs that are multiplied at a time, at least."""


class InputMoments:
    """The second moments of what is multiplied by each matrix.

    A pass over the samples serves as many neighbouring tables as fit into memory; tables are to be
    asked for in their order. The float model is run: the layers before are not quantized yet.

    Args:
        model: The float model; not changed.
        tables: All matrices, in the order in which they will be asked for.
        samples: What the model is fed; read once a pass.
        crossed: Whether products of different inputs are wanted, too; else they count as 0.
        threads: Threads of onnxruntime; 0 lets it choose.
    """

    def __init__(
        self,
        model: ir.Model,
        tables: Sequence[Table],
        samples: Sequence[Sample],
        *,
        crossed: bool = True,
        threads: int = 0,
    ) -> None:
        self._model = model
        self._crossed = crossed
        self._names = {table.name: inputs_of(table) for table in tables}
        self._columns = {n: t.columns for t in tables for n in self._names[t.name]}
        self._order = list(dict.fromkeys(n for t in tables for n in self._names[t.name]))
        self._samples = samples
        self._threads = threads
        self._sums: dict[str, SumOfSquares] = {}

    def of(self, table: Table) -> Moment | None:
        """What is multiplied by the table.

        None where no sample reached it, or what reached it was not finite.
        """
        names = self._names.get(table.name, ())
        if any(name not in self._sums for name in names):
            self._collect(names)
        together = SumOfSquares(table.columns, crossed=self._crossed)
        for name in names:
            together.merge(self._sums[name])
        return together.moment()

    def _collect(self, wanted: Iterable[str]) -> None:
        """One pass for the values wanted, and for those behind them that fit."""
        self._sums.clear()
        for name in self._pass(list(wanted)):
            self._sums[name] = SumOfSquares(self._columns[name], crossed=self._crossed)
        exposed = expose(self._model, list(self._sums), keep_outputs=False)
        session = None
        if exposed.outputs:
            session = Session(exposed.model, SessionConfig(self._threads), what="the model")
        for sample in self._samples:
            results = {} if session is None else session.run(sample)
            for name, total in self._sums.items():
                seen = results.get(exposed.outputs.get(name, ""), sample.get(name))
                if seen is not None:
                    total.add(seen)

    def _pass(self, wanted: list[str]) -> Iterator[str]:
        yield from wanted
        size = sum(self._bytes(name) for name in wanted)
        last = max((self._order.index(name) for name in wanted), default=len(self._order))
        for name in self._order[last + 1 :]:
            size += self._bytes(name)
            if size > _MEMORY:
                return
            yield name

    def _bytes(self, name: str) -> int:
        columns = self._columns[name]
        return 4 * columns * (columns if self._crossed else 1)


class SumOfSquares:
    """The sum of ``x x'`` over inputs ``x``.

    Args:
        columns: Numbers in an input.
        crossed: Whether more than the diagonal is wanted.
    """

    def __init__(self, columns: int, *, crossed: bool = True) -> None:
        self._total = np.zeros((columns, columns) if crossed else columns, np.float32)
        self._rows = 0
        self._waiting: list[FloatArray] = []

    def add(self, inputs: Array) -> None:
        """Add inputs of shape [..., columns]."""
        rows = np.ascontiguousarray(inputs, np.float32).reshape(-1, len(self._total))
        self._rows += rows.shape[0]
        if self._total.ndim == 1:
            self._total += np.einsum("rc,rc->c", rows, rows)
            return
        # A few rows at a time would read and write the whole square for each of them.
        self._waiting.append(rows)
        if sum(each.shape[0] for each in self._waiting) >= _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._total += rows.T @ rows
            self._waiting.clear()

    def merge(self, other: SumOfSquares) -> None:
        """Add what another sum holds."""
        self._waiting += other._waiting
        self._total += other._total
        self._rows += other._rows

    def moment(self) -> Moment | None:
        """The mean; None where there was no input, or one that is not finite."""
        self._settle()
        if not self._rows or not np.isfinite(self._total).all():
            return None
        mean = np.asarray(self._total, np.float64) / self._rows
        return Moment(mean if mean.ndim > 1 else np.diag(mean), self._rows)


def inputs_of(table: Table) -> tuple[str, ...]:
    """Names of the values that are multiplied by the table."""
    values = (use.node.inputs[0] for use in table.uses if not use.looks_up)
    return tuple(dict.fromkeys(name_of(value) for value in values if value is not None))
