"""What rounding a matrix does to the outputs of its model, found by running it.

How large the error of a layer is tells little. In 4 bits, the layers of MiniLM in front of a
softmax harm its embedding by 0.02 of their own relative error, the last ones by 3 times theirs.
What many matrices do together is nearly the sum of what each does alone (there 0.050 and 0.048),
so that trying one at a time is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.errors import ModelError
from edgeq.graph.cache_ports import cache_ports
from edgeq.graph.walk import name_of
from edgeq.runtime.paired import References
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, Sample
    from edgeq.weight_only.tables import Table

_WITH_DEFAULTS: Final = 4
"""Version of the format from which an initializer that is an input, too, can be overridden."""


class Trials:
    """Runs a model with other numbers in place of some of its matrices.

    Memory: the model in onnxruntime, its outputs as far as they are remembered, and what takes the
    place of the matrices.

    Args:
        model: The float model; not changed.
        tables: Its matrices.
        samples: What it is run on.
        threads: Threads of onnxruntime; 0 lets it choose.
    """

    def __init__(
        self,
        model: ir.Model,
        tables: Iterable[Table],
        samples: Sequence[Sample],
        *,
        threads: int = 0,
    ) -> None:
        copy = model.clone()
        constants = copy.graph.initializers
        sources = {name_of(use.source): None for table in tables for use in table.uses}
        # Those of bodies cannot be fed.
        self._fed = [name for name in sources if name in constants]
        copy.graph.inputs.extend(constants[name] for name in self._fed)
        copy.ir_version = max(copy.ir_version, _WITH_DEFAULTS)
        session = Session(copy, SessionConfig(threads))
        caches = _caches(model)
        names = tuple(n for n in session.outputs if n not in caches) or session.outputs
        self._plain = _Weighted(session, names)
        self._references = References(self._plain, samples)

    def reaches(self, table: Table) -> bool:
        """Whether other numbers can take the place of a matrix."""
        return all(name_of(use.source) in self._fed for use in table.uses)

    def damage(self, instead: Mapping[Table, FloatArray]) -> float:
        """Energy of the outputs' error over that of the outputs: the mean over outputs.

        An output counts 1 at most, and so does one that is not finite.

        Args:
            instead: What takes the place of matrices, float32 [rows, columns].
        """
        weights = {
            name_of(use.source): np.ascontiguousarray(rows.T if use.turned else rows)
            for table, rows in instead.items()
            for use in table.uses
        }
        candidate = _Weighted(self._plain.session, self._plain.outputs, weights)
        found = self._references.compare(candidate).result().values()
        parts = [min(10 ** (-f.sqnr_db / 10), 1.0) if f.finite else 1.0 for f in found]
        return sum(parts) / max(len(parts), 1)


def _caches(model: ir.Model) -> frozenset[str]:
    """Outputs that are judged by what the model makes of them, not by themselves."""
    try:
        return frozenset(port.present for port in cache_ports(model))
    except ModelError:
        # Images of any height look like caches, too, but not in pairs.
        return frozenset()


@dataclass(eq=False, slots=True)
class _Weighted:
    """A session whose model has some weights of its own.

    Attributes:
        session: The model.
        outputs: Names of those of its outputs that count.
        weights: Beside every sample.
    """

    session: Session
    outputs: tuple[str, ...]
    weights: Mapping[str, Array] = field(default_factory=dict)

    def run(self, sample: Sample, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Output name -> array."""
        return self.session.run({**sample, **self.weights}, outputs or self.outputs)
