"""Runs a model that sums the errors of its inner values, and adds them up over samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.metrics.fidelity import MAX_DB, sqnr_db
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import onnx_ir as ir

    from edgeq.graph.meters import Reading
    from edgeq.types import Array, Sample

_WHAT = "the model beside its quantized version"


@dataclass(frozen=True, slots=True)
class Energies:
    """Sums over samples.

    Attributes:
        signal: Of the squares of the reference.
        noise: Of the squared errors; not finite where an error is no number.
    """

    signal: float
    noise: float

    @property
    def known(self) -> bool:
        """Whether any element was compared that is not zero."""
        return self.signal != 0.0 or self.noise != 0.0

    @property
    def sqnr_db(self) -> float:
        """The ratio of signal and noise in dB; -200 where the noise is not finite."""
        return sqnr_db(self.signal, self.noise) if math.isfinite(self.noise) else -MAX_DB


NOTHING = Energies(0.0, 0.0)


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
        self._sums = dict.fromkeys(readings, NOTHING)

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
            signal, noise = (
                vectors[place.output][place.index] for place in (reading.signal, reading.noise)
            )
            # Where the reference itself is no number there is nothing to compare.
            if math.isfinite(signal):
                before = self._sums[key]
                self._sums[key] = Energies(before.signal + signal, before.noise + noise)

    def take(self) -> dict[Hashable, Energies]:
        """Everything that was found since the last time."""
        found = self._sums
        self._sums = dict.fromkeys(self._readings, NOTHING)
        return found
