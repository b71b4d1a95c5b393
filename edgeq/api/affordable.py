"""How many samples there is time for."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from edgeq.api.measuring import input_specs
from edgeq.calibration.sources import open_source
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.types import Sample

_FEWEST: Final = 8
"""Samples that there is always time for."""


class Affordable:
    """Tells how many samples of some data a model reads in a part of the time.

    Args:
        model: The model.
        time_limit: Seconds for everything.
        threads: Threads of onnxruntime; 0 lets it choose.
    """

    def __init__(self, model: ir.Model, time_limit: float, *, threads: int = 0) -> None:
        self._specs = input_specs(model)
        self._limit = time_limit
        self._session = Session(model, SessionConfig(threads), what="the original")

    def of(self, data: object, share: float) -> int | None:
        """How many samples: 8 at least; None for all of them.

        Args:
            data: The samples; the first two are run.
            share: The part of the time.
        """
        source = open_source(data, self._specs)
        once = min(_timed(self._session, sample) for sample in islice(source, 2))
        count = open_source(data, self._specs).length_hint()
        enough = max(_FEWEST, int(share * self._limit / max(once, 1e-6)))
        return enough if count is None or count > enough else None


def _timed(session: Session, sample: Sample) -> float:
    start = time.perf_counter()
    session.run(sample)
    return time.perf_counter() - start
