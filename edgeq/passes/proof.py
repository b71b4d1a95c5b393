"""Proves that a prepared model computes what the original does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from edgeq.types import Array, Sample

TOLERANCE = 1e-3
"""Largest difference allowed, relative to the largest magnitude of the output."""

_ROUNDING_LIMIT = 2e-2
"""Largest difference that is put down to rounding: beyond it either graph may be wrong."""

_ROUNDING_MARGIN = 4.0
"""Candidates may be off by this many times what rounding moves the original by."""

_NUDGE = 2.0**-22
"""By what inputs change when rounding is measured, relative: two steps of float32."""

_SAMPLES = 4
"""How many given samples a proof runs: each runs through two models, and more rarely tell more."""

_RANDOM_SAMPLES = 2
"""How many random samples it runs beside them: where sizes are open, of two sizes."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What running two models on the same samples showed.

    Attributes:
        error: Largest relative difference of any output on any sample; 0 when none ran.
        samples: How many samples both models ran.
        failure: What speaks against the candidate; None when nothing does.
        tolerance: The largest difference that was allowed.
    """

    error: float
    samples: int
    failure: str | None = None
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether the candidate computed the same on at least one sample."""
        return self.failure is None and self.samples > 0


class Reference:
    """What a model answers to a few samples, kept for comparing candidates with it.

    Args:
        model: The model that is right by definition.
        given: Samples of its user; the first few are run.
        random: Random samples; the first few that it runs are kept, the others say nothing.

    Attributes:
        problem: Why it does not run the given samples, or, without any, the random ones.
        runs: Samples and answers.
    """

    def __init__(
        self, model: ir.Model, given: Iterable[Sample] = (), random: Iterable[Sample] = ()
    ) -> None:
        self._model = model
        self._rounding: list[dict[str, float | str]] | None = None
        self._loads = False
        self.problem: str | None = None
        self.runs: list[tuple[Sample, dict[str, Array]]] = []
        try:
            session = _open(model)
        except EdgeqError as error:
            self.problem = str(error)
            return
        self._loads = True
        for sample in itertools.islice(given, _SAMPLES):
            self._keep(session, sample)
            if self.problem is not None:
                break
        asked, problem = bool(self.runs) or self.problem is not None, self.problem
        wanted = len(self.runs) + _RANDOM_SAMPLES
        for sample in random:
            if len(self.runs) == wanted:
                break
            self._keep(session, sample)
        self.problem = problem if asked or self.runs else self.problem or "there are no samples"

    def _keep(self, session: Session, sample: Sample) -> None:
        try:
            self.runs.append((sample, session.run(sample)))
        except EdgeqError as error:
            self.problem = str(error)

    def prove(self, candidate: ir.Model, tolerance: float = TOLERANCE) -> Proof:
        """Compare a candidate's answers with the reference's.

        Some models magnify rounding: where a candidate misses the tolerance, it may be off by a
        few times what the original itself moves by when its last bits change. An output that
        changes its kind then (another class, another number of boxes) says nothing. Nor does a
        candidate that does not load, where the original does not: operators of others, for one.
        """
        if not self._loads:
            return Proof(0.0, 0, None, tolerance)
        proof = self._compare(candidate, tolerance, [{} for _ in self.runs])
        if proof.failure is None:
            return proof
        if self._rounding is None:
            self._rounding = self._measure_rounding()
        return self._compare(candidate, tolerance, self._rounding)

    def _compare(
        self, candidate: ir.Model, tolerance: float, rounding: list[dict[str, float | str]]
    ) -> Proof:
        worst, widest = 0.0, tolerance
        try:
            session = _open(candidate)
            for (sample, wanted), moved in zip(self.runs, rounding, strict=True):
                got = session.run(sample)
                for name, array in wanted.items():
                    own = moved.get(name, 0.0)
                    if isinstance(own, str):
                        continue
                    error = difference(array, got[name])
                    allowed = max(tolerance, min(_ROUNDING_MARGIN * own, _ROUNDING_LIMIT))
                    widest = max(widest, allowed)
                    if isinstance(error, str) or error > allowed:
                        failure = f"output {name}: {_told(error)}"
                        return Proof(worst, len(self.runs), failure, widest)
                    worst = max(worst, error)
        except EdgeqError as error:
            return Proof(worst, len(self.runs), str(error), widest)
        return Proof(worst, len(self.runs), None, widest)

    def _measure_rounding(self) -> list[dict[str, float | str]]:
        """How far the original is from itself, rewritten and fed with the last bits changed."""
        try:
            session = Session(self._model)
            return [self._moved(session, *run) for run in self.runs]
        except EdgeqError:
            return [{} for _ in self.runs]

    def _moved(
        self, session: Session, sample: Sample, wanted: dict[str, Array]
    ) -> dict[str, float | str]:
        got = session.run({name: _nudged(array) for name, array in sample.items()})
        return {name: difference(array, got[name]) for name, array in wanted.items()}


def _nudged(array: Array) -> Array:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        return array
    return np.multiply(array, 1 + _NUDGE, dtype=np.float32)


def prove(
    original: ir.Model,
    prepared: ir.Model,
    samples: Iterable[Sample],
    tolerance: float = TOLERANCE,
) -> Proof:
    """Run two models on the same samples and compare every output.

    Args:
        original: The model that is right by definition.
        prepared: The model that should compute the same.
        samples: Inputs of both; a few of them are used.
        tolerance: Largest difference allowed in a float output, relative to its largest magnitude.
    """
    reference = Reference(original, samples)
    if reference.problem is not None and not reference.runs:
        return Proof(0.0, 0, None)
    return reference.prove(prepared, tolerance)


def difference(wanted: Array, got: Array) -> float | str:
    """How far two arrays are apart, relative to the larger magnitude in ``wanted``; or why not."""
    if not isinstance(wanted, np.ndarray) or not isinstance(got, np.ndarray):
        return 0.0 if type(wanted) is type(got) else "another type"
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"{got.dtype}{list(got.shape)} instead of {wanted.dtype}{list(wanted.shape)}"
    if not np.issubdtype(wanted.dtype, np.floating):
        return 0.0 if np.array_equal(wanted, got) else "other numbers"
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return "infinite or undefined numbers in other places"
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return "other infinite numbers"
    if not finite.any():
        return 0.0
    scale = float(np.abs(a[finite]).max())
    apart = float(np.abs(a[finite] - b[finite]).max())
    return apart / scale if scale > 0 else apart


def _told(error: float | str) -> str:
    return error if isinstance(error, str) else f"off by {error:.2g} of its range"


def _open(model: ir.Model) -> Session:
    # The runtime's own rewriting stays out of the comparison: it has had defects.
    return Session(model, SessionConfig(optimize=False))
