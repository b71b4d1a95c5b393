"""Proves that a prepared model computes what the original does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import EdgeqError
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

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
"""How many samples a proof runs: each runs through two models, and more rarely tell more."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What running two models on the same samples showed.

    Attributes:
        error: Largest relative difference of any output on any sample; 0 when none ran.
        samples: How many samples both models ran.
        failure: What speaks against the candidate; None when nothing does.
    """

    error: float
    samples: int
    failure: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the candidate computed the same on at least one sample."""
        return self.failure is None and self.samples > 0


class Reference:
    """What a model answers to a few samples, kept for comparing candidates with it.

    Args:
        model: The model that is right by definition.
        samples: What to run it on. Those that it refuses are left out.

    Attributes:
        problem: Why it ran none of them; None when it did.
    """

    def __init__(self, model: ir.Model, samples: Iterable[Sample]) -> None:
        self._model = model
        self._rounding: float | None = None
        self.problem: str | None = None
        self.runs: list[tuple[Sample, dict[str, Array]]] = []
        try:
            session = _open(model)
            for sample in itertools.islice(samples, _SAMPLES):
                self.runs.append((sample, session.run(sample)))
        except EdgeqError as error:
            self.problem = str(error)
        if not self.runs and self.problem is None:
            self.problem = "there are no samples"

    def prove(self, candidate: ir.Model, tolerance: float = TOLERANCE) -> Proof:
        """Compare a candidate's answers with the reference's.

        Some models magnify rounding: where a candidate misses the tolerance, it may be off by a
        few times what the original itself moves by when its last bits change.
        """
        proof = self._compare(candidate, tolerance)
        if proof.failure is None:
            return proof
        if self._rounding is None:
            self._rounding = self._measure_rounding()
        allowed = min(_ROUNDING_MARGIN * self._rounding, _ROUNDING_LIMIT)
        return self._compare(candidate, allowed) if allowed > tolerance else proof

    def _compare(self, candidate: ir.Model, tolerance: float) -> Proof:
        worst = 0.0
        try:
            session = _open(candidate)
            for sample, wanted in self.runs:
                got = session.run(sample)
                for name, array in wanted.items():
                    error = difference(array, got[name])
                    if isinstance(error, str) or error > tolerance:
                        return Proof(worst, len(self.runs), f"output {name}: {_told(error)}")
                    worst = max(worst, error)
        except EdgeqError as error:
            return Proof(worst, len(self.runs), str(error))
        return Proof(worst, len(self.runs))

    def _measure_rounding(self) -> float:
        """How far the original is from itself, rewritten and fed with the last bits changed."""
        worst = 0.0
        try:
            session = Session(self._model)
            for sample, wanted in self.runs:
                got = session.run({name: _nudged(array) for name, array in sample.items()})
                apart = [difference(array, got[name]) for name, array in wanted.items()]
                worst = max([worst, *(error for error in apart if not isinstance(error, str))])
        except EdgeqError:
            return 0.0
        return worst


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


def random_samples(model: ir.Model, count: int = 2, seed: int = 0) -> list[Sample]:
    """Random inputs shaped as the model declares them; symbolic dimensions become small numbers.

    Args:
        model: The model to feed.
        count: How many samples. Each takes other numbers for the symbolic dimensions.
        seed: Seed of the generator.

    Returns:
        The samples; none when an input is no tensor of numbers.
    """
    rng = np.random.default_rng(seed)
    required = [v for v in model.graph.inputs if not v.is_initializer()]
    samples: list[Sample] = []
    for index in range(count):
        sizes: dict[str, int] = {}
        sample = {}
        for value in required:
            array = _random(value, sizes, index, rng)
            if array is None or not value.name:
                return []
            sample[value.name] = array
        samples.append(sample)
    return samples


def _random(
    value: ir.Value, sizes: dict[str, int], index: int, rng: np.random.Generator
) -> Array | None:
    if value.shape is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
        return None
    shape = []
    for axis, dim in enumerate(value.shape):
        if isinstance(dim, int) and dim >= 0:
            shape.append(dim)
            continue
        symbol = str(getattr(dim, "value", None) or f"{value.name}:{axis}")
        # Pictures must survive a few halvings; a batch or a sequence may be short.
        usual = 1 + index if axis == 0 else 64 if len(value.shape) == 4 else 8
        shape.append(sizes.setdefault(symbol, usual))
    return _draw(value.dtype, shape, rng)


def _draw(dtype: ir.DataType, shape: list[int], rng: np.random.Generator) -> Array | None:
    try:
        kind = dtype.numpy()
    except TypeError:
        return None
    if np.issubdtype(kind, np.floating):
        return rng.standard_normal(shape).astype(kind)
    if kind == np.bool_:
        return rng.integers(0, 2, shape).astype(kind)
    return rng.integers(0, 8, shape).astype(kind) if np.issubdtype(kind, np.integer) else None
