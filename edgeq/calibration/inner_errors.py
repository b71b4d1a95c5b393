"""Runs a model that sums the errors of its inner values, and adds them up over samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.metrics.fidelity import MAX_DB, sqnr_db
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import onnx_ir as ir

    from edgeq.graph.meters import Reading
    from edgeq.types import Array, Sample

_WHAT = "the model beside its quantized version"


class InnerErrors:
    """Energies of values and of their errors over samples, in constant memory.

    Args:
        model: What :meth:`edgeq.graph.meters.Meters.finish` left; nothing is run where it has no
            outputs.
        readings: What that returned.
        config: How the session is opened.
        fed: What the model is fed beside every sample.
    """

    def __init__(
        self,
        model: ir.Model,
        readings: Mapping[Hashable, Reading],
        config: SessionConfig | None = None,
        fed: Mapping[str, Array] | None = None,
    ) -> None:
        config = replace(config or SessionConfig(), reuse=False)
        self._session = Session(model, config, what=_WHAT) if readings else None
        self._readings = readings
        self._fed = dict(fed or {})
        self._sums: dict[Hashable, tuple[float, float]] = dict.fromkeys(readings, (0.0, 0.0))

    def add(self, sample: Sample, fed: Mapping[str, Array] | None = None) -> None:
        """Run on one more sample.

        Args:
            sample: What the models are fed.
            fed: What is fed beside it, this time.

        Raises:
            DataError: One of the models does not run on it.
        """
        if self._session is None:
            return
        found = self._session.run({**self._fed, **(fed or {}), **sample})
        vectors = {name: vector.tolist() for name, vector in found.items()}
        for key, reading in self._readings.items():
            signal = vectors[reading.signal.output][reading.signal.index]
            noise = vectors[reading.noise.output][reading.noise.index]
            # Where the reference itself is no number there is nothing to compare.
            if math.isfinite(signal):
                before = self._sums[key]
                self._sums[key] = (before[0] + signal, before[1] + noise)

    def take(self) -> dict[Hashable, tuple[float, float]]:
        """Signal and noise of everything since the last time; what was never computed is 0, 0."""
        found = self._sums
        self._sums = dict.fromkeys(self._readings, (0.0, 0.0))
        return found


def ratio_db(energies: tuple[float, float]) -> float:
    """The ratio of signal and noise in dB; -200 where the noise is not finite."""
    signal, noise = energies
    return sqnr_db(signal, noise) if math.isfinite(noise) else -MAX_DB
