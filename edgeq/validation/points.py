"""A model among others that were made of the same original: what it scores, takes and weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.validation.verdict import Score

ORIGINAL = "fp32"
"""Name of the point that all others are compared with."""


@dataclass(frozen=True, slots=True)
class PointTime:
    """What one run takes.

    Attributes:
        milliseconds: Median of the runs, or the sum that costs predict.
        fp32_milliseconds: The same of the original, which took turns.
        ratio: Time by that of the original; below 1 is faster.
        threads: Threads inside an operator.
        predicted: Whether given costs predict it; otherwise it was measured here.
    """

    milliseconds: float
    fp32_milliseconds: float
    ratio: float
    threads: int
    predicted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "threads": self.threads,
            "median_ms": self.milliseconds,
            "fp32_ms": self.fp32_milliseconds,
            "ratio": self.ratio,
            "speedup": 1.0 / self.ratio if self.ratio else None,
            "predicted": self.predicted,
        }


@dataclass(frozen=True, slots=True)
class Point:
    """One model.

    Attributes:
        name: Unlike that of any other point.
        made: How it came about, in words.
        scheme: That of ``edgeq quantize``; :data:`ORIGINAL` for the original.
        score: The metric on the evaluation data.
        sqnr_db: SQNR of the worst output on calibration samples, in dB; None for the original.
        time: What one run takes.
        size_bytes: Size as a file, external data included.
        size_ratio: That size by the original's.
        layers_float: Nodes left float for accuracy.
        layers_float_for_speed: Nodes left float because that is faster.
        layers_integer_for_speed: Bridges put into integers because that is faster.
        failures: Thresholds that it misses, whatever its score: it is never picked.
    """

    name: str
    made: str
    scheme: str
    score: Score
    sqnr_db: float | None
    time: PointTime
    size_bytes: int
    size_ratio: float
    layers_float: int = 0
    layers_float_for_speed: int = 0
    layers_integer_for_speed: int = 0
    failures: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "made": self.made,
            "scheme": self.scheme,
            "score": self.score.candidate,
            "drop": self.score.drop,
            "sqnr_db": self.sqnr_db,
            "latency": self.time.to_dict(),
            "size": {"bytes": self.size_bytes, "ratio": self.size_ratio},
            "layers": {
                "float": self.layers_float,
                "float_for_speed": self.layers_float_for_speed,
                "integer_for_speed": self.layers_integer_for_speed,
            },
            "failures": list(self.failures),
        }
