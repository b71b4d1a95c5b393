"""What layers read behind layers that are stored in blocks already: each makes up for those before.

The second moments of a layer are those of the model as it will be up to there, so that rounding
takes the errors of the layers before into account (Frantar et al., GPTQ, section 4).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.calibration.stepwise import Stepwise
from edgeq.graph import rewire
from edgeq.graph.walk import name_of, values
from edgeq.runtime.session import SessionConfig
from edgeq.weight_only.moments import InputMoments, SumOfSquares, inputs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.types import Sample
    from edgeq.weight_only.blocks import BlockMatrix
    from edgeq.weight_only.moment import Moment
    from edgeq.weight_only.tables import Table, Use


_MEMORY: Final = 256_000_000
"""Bytes of what samples have still to bring to later layers; samples beyond that are not used."""


@dataclass(frozen=True, eq=False, slots=True)
class _Settled:
    """A use that reads what blocks stand for, until it has run."""

    use: Use
    plain: ir.Value
    real: ir.Value


class SequentialMoments:
    """The second moments of what is multiplied by each matrix, the matrices before it in blocks.

    The model runs once over the samples, from layer to layer. A matrix that is read in several
    places, such as an embedding that is the output layer, too, is asked for before what it is
    multiplied by can be known; so is one in a body. Their moments are those of the float model.

    Args:
        model: The float model; the weights of what has still to run change.
        tables: Its matrices, in the order in which they will be asked for.
        samples: What the model is fed.
        threads: Threads of onnxruntime; 0 lets it choose.
    """

    def __init__(
        self,
        model: ir.Model,
        tables: Sequence[Table],
        samples: Sequence[Sample],
        *,
        threads: int = 0,
    ) -> None:
        self._plain = InputMoments(model.clone(), tables, samples, threads=threads)
        self._graph = model.graph
        self._names = rewire.Names(model)
        self._tables = {table.name: table for table in tables}
        inner = {name for name, value in values(model).items() if value.graph is model.graph}
        self._inputs = {t.name: n for t in tables if (n := _only_input(t)) in inner}
        self._waiting = Counter(self._inputs.values())
        config = SessionConfig(threads)
        self._steps = Stepwise(model, samples, self._waiting, config, memory=_MEMORY)
        self._reached: dict[str, Moment | None] = {}
        self._settled: list[_Settled] = []

    def of(self, table: Table) -> Moment | None:
        """What is multiplied by the table.

        None where no sample reached it, or what reached it was not finite.
        """
        name = self._inputs.get(table.name)
        return self._plain.of(table) if name is None else self._moment(name, table.columns)

    def settle(self, table: Table, matrix: BlockMatrix) -> None:
        """Let the layers behind a table read what its blocks make of it; it is not asked for again.

        Args:
            table: The matrix.
            matrix: What it is stored as.
        """
        name = self._inputs.get(table.name)
        if name is not None:
            # What nobody asks for would be kept for all samples.
            self._moment(name, table.columns)
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._reached[name]
        for use in self._tables[table.name].uses:
            real = rewire.add_tensor(self._graph, self._tensor(use, matrix))
            self._settled.append(_Settled(use, use.source, real))
            use.node.replace_input_with(use.input, real)

    def _moment(self, name: str, columns: int) -> Moment | None:
        if name not in self._reached:
            total = SumOfSquares(columns)
            for kept in self._steps.advance([name]):
                if name in kept:
                    total.add(kept[name])
            self._reached[name] = total.moment()
            self._forget()
        return self._reached[name]

    def _tensor(self, use: Use, matrix: BlockMatrix) -> ir.LazyTensor:
        """The weights as the use reads them, computed when a session is opened."""
        name = self._names.value(f"{name_of(use.source)}_real")
        shape = (matrix.columns, matrix.rows) if use.turned else (matrix.rows, matrix.columns)

        def made() -> ir.TensorProtocol:
            real = matrix.real()
            return ir.Tensor(np.ascontiguousarray(real.T) if use.turned else real, name=name)

        return ir.LazyTensor(made, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name)

    def _forget(self) -> None:
        """Let go of the blocks of what has run: a byte for each weight."""
        for each in [s for s in self._settled if self._steps.has_run(s.use.node)]:
            each.use.node.replace_input_with(each.use.input, each.plain)
            del self._graph.initializers[name_of(each.real)]
            self._settled.remove(each)


def _only_input(table: Table) -> str | None:
    """What alone is multiplied by a table that is read nowhere before; None for others."""
    names = inputs_of(table)
    alone = len(names) == 1 and not any(use.looks_up for use in table.uses)
    return names[0] if alone else None
