"""The report of ``edgeq tune``. Its JSON keys are a contract, as those of the other ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.report.document import SCHEMA, model_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.report.document import ModelFacts
    from edgeq.validation.points import Point


@dataclass(frozen=True, slots=True)
class LimitRow:
    """The limit that was given.

    Attributes:
        kind: ``max_drop``, ``max_latency`` or ``max_size``.
        amount: In the metric's unit, milliseconds or bytes.
        relative: Whether it is a fraction of fp32's figure.
        met: Whether a point keeps to it.
        reason: Why that point was picked, or why there is none.
    """

    kind: str
    amount: float
    relative: bool
    met: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "kind": self.kind,
            "amount": self.amount,
            "relative": self.relative,
            "met": self.met,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class FrontierReport:
    """The models that were made of one original, and which of them are worth having.

    Attributes:
        model: The model that was given.
        target: Name of the target profile.
        calibrator: What was asked for.
        samples: Calibration samples.
        points: All models, fp32 first.
        dominated: Name of a point -> that of one that is nowhere worse and somewhere better.
        limit: What was asked for; None without a limit.
        chosen: Name of the point that was picked; None where there is none.
        costs: Where given costs come from; None where times were measured here.
        timings: Seconds per stage.
        peak_rss_mb: Largest resident size of the process, in MB (10^6 bytes).
        notes: What was assumed, found or left out on the way, in sentences.
        environment: Versions and instruction sets.
    """

    model: ModelFacts
    target: str
    calibrator: str
    samples: int
    points: tuple[Point, ...]
    dominated: Mapping[str, str]
    limit: LimitRow | None
    chosen: str | None
    costs: str | None
    timings: Mapping[str, float]
    peak_rss_mb: float
    notes: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether the limit is met, where there is one."""
        return self.limit is None or self.limit.met

    @property
    def frontier(self) -> tuple[Point, ...]:
        """The points that no other one dominates."""
        return tuple(point for point in self.points if point.name not in self.dominated)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data, ready for JSON."""
        score = self.points[0].score
        return {
            "schema": SCHEMA,
            "verdict": "good" if self.passed else "failed",
            "model": model_row(self.model),
            "target": self.target,
            "calibrator": self.calibrator,
            "samples": self.samples,
            "metric": {
                "name": score.name,
                "fp32": score.fp32,
                "higher_is_better": score.higher_is_better,
            },
            "limit": None if self.limit is None else self.limit.to_dict(),
            "chosen": self.chosen,
            "costs": self.costs,
            "points": [self._row(point) for point in self.points],
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "notes": list(self.notes),
            "environment": dict(self.environment),
        }

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def _row(self, point: Point) -> dict[str, Any]:
        return {
            **point.to_dict(),
            "frontier": point.name not in self.dominated,
            "dominated_by": self.dominated.get(point.name),
            "chosen": point.name == self.chosen,
        }
