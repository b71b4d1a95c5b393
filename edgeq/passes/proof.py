"""Proves that a prepared model computes what the original does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.graph.check import disorder
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, Sample

TOLERANCE = 2e-4
"""Largest difference allowed, relative to the largest magnitude of the output: a hundred times what
other orders of float32 additions make on most models, and less than defects of passes have made."""

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

_UNSTEADY_SAMPLES = 4
"""After how many random samples that are answered by rounding alone no more are tried."""

_STEADY = TOLERANCE
"""By how much rounding may move outputs on a random sample that is to tell right from wrong."""

_STEP = 2.0**-25
"""Distance of float32 numbers below 1/2. onnxruntime computes Sigmoid as 1/2 plus something
(core/mlas/lib/logistic.cpp): answers near 0 are a few such steps, which inputs nudged in their last
bits may leave as they are while another order of additions does not."""

_PIECE = 1 << 18
"""Numbers that are compared at a time."""

_STEPS = 8 * _STEP
"""How far answers that are whole steps may be apart by rounding alone."""


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


@dataclass(slots=True)
class _Run:
    """A sample and what the original answers to it.

    Attributes:
        sample: The inputs.
        answers: The outputs.
        random: Whether nobody gave the sample.
        moved: How far each output moves by rounding alone; None while not measured.
    """

    sample: Sample
    answers: dict[str, Array]
    random: bool
    moved: dict[str, float | str] | None = None

    def allowed(self, name: str, tolerance: float) -> float | None:
        """How far a candidate's output may be off; None where the output says nothing."""
        own = 0.0 if self.moved is None else self.moved.get(name, 0.0)
        if isinstance(own, str):
            return None
        wanted = _ROUNDING_MARGIN * own
        if self.random and wanted > _ROUNDING_LIMIT:
            return None
        return max(tolerance, min(wanted, _ROUNDING_LIMIT))

    @property
    def is_steady(self) -> bool:
        """Whether the outputs are more than rounding, and not all of them zero."""
        moved = self.moved or {}
        steady = all(not isinstance(m, str) and m <= _STEADY for m in moved.values())
        return steady and any(_has_signal(array) for array in self.answers.values())


class Reference:
    """What a model answers to a few samples, kept for comparing candidates with it.

    Args:
        model: The model that is right by definition.
        given: Samples of its user; the first few are run.
        random: Random samples. Kept are the first few that it runs and answers by more than its
            own rounding; without any such, the first few that it runs.

    Attributes:
        problem: Why it does not run the given samples, or, without any, the random ones.
        loads: Whether onnxruntime loads it.
    """

    def __init__(
        self, model: ir.Model, given: Iterable[Sample] = (), random: Iterable[Sample] = ()
    ) -> None:
        self._model = model
        self._runs: list[_Run] = []
        self.loads = False
        self.problem: str | None = None
        try:
            session = _open(model)
        except EdgeqError as error:
            self.problem = str(error)
            return
        self.loads = True
        for sample in itertools.islice(given, _SAMPLES):
            try:
                self._runs.append(_Run(sample, session.run(sample), random=False))
            except EdgeqError as error:
                self.problem = str(error)
                break
        problem = self._run_random(session, random)
        if not self._runs and self.problem is None:
            self.problem = problem or "there are no samples"

    def _run_random(self, session: Session, random: Iterable[Sample]) -> str | None:
        """Keep a few random samples; why the last one that was refused was."""
        steady: list[_Run] = []
        others: list[_Run] = []
        problem = None
        for sample in random:
            try:
                run = _Run(sample, session.run(sample), random=True)
                run.moved = _moved(session, run, 0)
            except EdgeqError as error:
                problem = str(error)
                continue
            (steady if run.is_steady else others).append(run)
            if len(steady) == _RANDOM_SAMPLES or len(others) == _UNSTEADY_SAMPLES:
                break
        self._runs += steady or others[:_RANDOM_SAMPLES]
        return problem

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What the model ran on."""
        return tuple(run.sample for run in self._runs)

    def prove(self, candidate: ir.Model, tolerance: float = TOLERANCE) -> Proof:
        """Compare a candidate's answers with the reference's.

        Some models magnify rounding: where a candidate misses the tolerance, it may be off by a
        few times what the original itself moves by when its last bits change. An output that
        changes its kind then (another class, another number of boxes) says nothing. Nor does a
        candidate that does not load, where the original does not: operators of others, for one.
        """
        wrong = disorder(candidate)
        if wrong is not None:
            reader, value = wrong
            return Proof(0.0, 0, f"{reader} reads {value} before anything computes it", tolerance)
        if not self.loads:
            return Proof(0.0, 0, None, tolerance)
        proof = self._compare(candidate, tolerance)
        if proof.failure is None:
            return proof
        self._measure_rounding()
        return self._compare(candidate, tolerance)

    def _compare(self, candidate: ir.Model, tolerance: float) -> Proof:
        worst, widest, judged = 0.0, tolerance, 0
        try:
            session = _open(candidate)
            for run in self._runs:
                got = session.run(run.sample)
                limits = {name: run.allowed(name, tolerance) for name in run.answers}
                judged += any(limit is not None for limit in limits.values()) or not limits
                for name, limit in limits.items():
                    if limit is None:
                        continue
                    widest = max(widest, limit)
                    error = difference(run.answers[name], got[name])
                    if isinstance(error, str) or error > limit:
                        return Proof(worst, judged, f"output {name}: {_told(error)}", widest)
                    worst = max(worst, error)
        except EdgeqError as error:
            return Proof(worst, judged, str(error), widest)
        if self._runs and not judged:
            self.problem = "its outputs on random inputs are all rounding"
        return Proof(worst, judged, None, widest)

    def _measure_rounding(self) -> None:
        """How far the original is from itself, rewritten and fed with the last bits changed."""
        try:
            # One after the other: two sessions of a large model are twice its weights.
            for seeds, opened in (((0, 2), _open), ((1,), Session)):
                session = opened(self._model)
                for run, seed in itertools.product(self._runs, seeds):
                    run.moved = _wider(run.moved, _moved(session, run, seed))
                del session
        except EdgeqError:
            return


def _has_signal(array: Array) -> bool:
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        return not isinstance(array, np.ndarray) or bool(np.any(array != 0))
    rounding = _STEPS / _STEADY if _in_steps(array) else 0.0
    return any(bool(np.any(np.abs(p[np.isfinite(p)]) > rounding)) for p in _pieces(array))


def _in_steps(array: Array) -> bool:
    """Whether every number is a few whole steps, as of a difference of numbers around 1/2."""
    for piece in _pieces(array):
        steps = piece[np.isfinite(piece)] / _STEP
        if not np.all(steps == np.round(steps)):
            return False
    return True


def _pieces(array: Array) -> Iterator[FloatArray]:
    """An array's numbers as float64, in pieces: of logits, each copy takes 50 MB a sample."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE].astype(np.float64)


def _moved(session: Session, run: _Run, seed: int) -> dict[str, float | str]:
    """How far outputs move when the last bits of the inputs change."""
    rng = np.random.default_rng(seed)
    got = session.run({name: _nudged(array, rng) for name, array in run.sample.items()})
    return {name: difference(array, got[name]) for name, array in run.answers.items()}


def _wider(
    known: dict[str, float | str] | None, found: dict[str, float | str]
) -> dict[str, float | str]:
    """The worse of two measurements, output by output."""
    if known is None:
        return found
    worse: dict[str, float | str] = {}
    for name, new in found.items():
        old = known[name]
        if isinstance(old, str) or isinstance(new, str):
            worse[name] = old if isinstance(old, str) else new
        else:
            worse[name] = max(old, new)
    return worse


def _nudged(array: Array, rng: np.random.Generator) -> Array:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        return array
    signs = rng.integers(0, 2, array.shape) * 2 - 1
    nudged: Array = np.multiply(array, 1 + signs * _NUDGE).astype(np.float32)
    return nudged


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
    if not reference.samples:
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
    scale = apart = 0.0
    for a, b in zip(_pieces(wanted), _pieces(got), strict=True):
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return "infinite or undefined numbers in other places"
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return "other infinite numbers"
        scale = max(scale, float(np.abs(a[finite]).max(initial=0.0)))
        apart = max(apart, float(np.abs(a[finite] - b[finite]).max(initial=0.0)))
    if apart <= _STEPS and (_in_steps(wanted) or _in_steps(got)):
        return 0.0
    return apart / scale if scale > 0 else apart


def _told(error: float | str) -> str:
    return error if isinstance(error, str) else f"off by {error:.2g} of its range"


def _open(model: ir.Model) -> Session:
    # The runtime's own rewriting stays out of the comparison: it has had defects.
    return Session(model, SessionConfig(optimize=False))
