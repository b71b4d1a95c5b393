"""Good or not: thresholds, and the sentences that say which one was missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.metrics import Fidelity
    from edgeq.runtime.latency import LatencyComparison


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate has to reach; None where nothing is asked.

    Attributes:
        min_sqnr: SQNR of every float output, in dB.
        min_cosine: Mean cosine of every float output.
        min_agreement: Top-1 agreement of every output with classes, 0 to 1.
        min_speedup: Reference time / candidate time, best of the thread counts measured.
        max_drop: Loss of the task metric; in the metric's own unit, or relative to the fp32 score
            where ``relative_drop``.
        relative_drop: Whether ``max_drop`` is a fraction of the fp32 score.
    """

    min_sqnr: float | None = None
    min_cosine: float | None = None
    min_agreement: float | None = None
    min_speedup: float | None = None
    max_drop: float | None = None
    relative_drop: bool = False

    def allowed_drop(self, fp32: float) -> float:
        """The largest loss of the task metric, in its own unit, for a score of the original."""
        most = 0.0 if self.max_drop is None else self.max_drop
        return most * abs(fp32) if self.relative_drop else most


DEFAULT = Thresholds(min_sqnr=10.0, min_cosine=0.95)
"""Below these a default run has failed: the outputs are no longer those of the model."""

_ROUNDING = 1e-9
"""What the difference of two scores may be off by."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement.

    Attributes:
        failures: A sentence for every threshold missed; empty when the candidate is good.
    """

    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every threshold is met."""
        return not self.failures

    @property
    def text(self) -> str:
        """``good`` or ``failed``."""
        return "good" if self.passed else "failed"


@dataclass(frozen=True, slots=True)
class Score:
    """A task metric of two models, and which way is better."""

    name: str
    fp32: float
    candidate: float
    higher_is_better: bool = True

    @property
    def drop(self) -> float:
        """How much worse the candidate is, in the metric's unit; negative when it is better."""
        difference = self.fp32 - self.candidate
        return difference if self.higher_is_better else -difference


def judge(
    thresholds: Thresholds,
    outputs: Mapping[str, Fidelity],
    latency: Sequence[LatencyComparison] = (),
    score: Score | None = None,
) -> Verdict:
    """Hold measurements against thresholds.

    Args:
        thresholds: What is asked.
        outputs: Closeness per output.
        latency: Comparisons, one a thread count.
        score: The task metric, where it was measured.
    """
    failures: list[str] = []
    for name, closeness in outputs.items():
        failures += _closeness_failures(name, closeness, thresholds)
    if outputs and not any(closeness.measured for closeness in outputs.values()):
        failures.append(
            "the reference has no finite number in any output on these samples, so that nothing "
            "is compared: check the data"
        )
    if thresholds.min_speedup is not None and latency:
        best = max(comparison.speedup for comparison in latency)
        if best < thresholds.min_speedup:
            failures.append(f"speed-up {best:.2f} is below {thresholds.min_speedup:g}")
    if thresholds.max_drop is not None and score is not None:
        failures += _drop_failures(thresholds.allowed_drop(score.fp32), score)
    return Verdict(tuple(failures))


def _closeness_failures(name: str, closeness: Fidelity, thresholds: Thresholds) -> Iterator[str]:
    if not closeness.finite:
        yield f"output {name!r} has NaN, Inf or another shape where the reference is finite"
    if thresholds.min_sqnr is not None and closeness.sqnr_db < thresholds.min_sqnr:
        yield (
            f"output {name!r}: SQNR {closeness.sqnr_db:.1f} dB is below {thresholds.min_sqnr:g} dB"
        )
    if thresholds.min_cosine is not None and closeness.cosine < thresholds.min_cosine:
        yield f"output {name!r}: cosine {closeness.cosine:.4f} is below {thresholds.min_cosine:g}"
    agreement = closeness.top1_agreement
    wanted = thresholds.min_agreement
    if wanted is not None and agreement is not None and agreement < wanted:
        yield f"output {name!r}: top-1 agreement {agreement:.4f} is below {wanted:g}"


def _drop_failures(allowed: float, score: Score) -> Iterator[str]:
    # 0.90 - 0.88 is a little more than 0.02 in binary.
    if score.drop > allowed + _ROUNDING * max(1.0, abs(score.fp32)):
        yield (
            f"metric {score.name}: {score.candidate:.4f} against {score.fp32:.4f} in fp32, "
            f"a drop of {score.drop:.4f}; {allowed:.4f} is allowed"
        )


def parse_drop(text: str) -> tuple[float, bool]:
    """Read ``0.5%`` (relative to the fp32 score) or a bare number (the metric's own unit).

    Returns:
        The drop, as a fraction where relative, and whether it is relative.

    Raises:
        RecipeError: It is neither.
    """
    relative = text.strip().endswith("%")
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number < float("inf"):
        raise RecipeError(
            f"{text!r} is no drop", where="--max-drop", remedy="Write 0.5% or a number such as 0.01"
        )
    return (number / 100, True) if relative else (number, False)
