"""Metrics that need no labels: how far a candidate's outputs are those of the fp32 model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.metrics.fidelity import Fidelity

Judge: TypeAlias = "Callable[[Mapping[str, Fidelity]], float]"


@dataclass(frozen=True, slots=True)
class RelativeMetric:
    """A score of which fp32 itself has 1; higher is better.

    Attributes:
        name: As users write it.
        summary: One sentence.
        function: Closeness by output -> score.
    """

    name: str
    summary: str
    function: Judge

    def __call__(self, outputs: Mapping[str, Fidelity]) -> float:
        """The score; 0 where the candidate's numbers are not finite.

        Args:
            outputs: Closeness per output.

        Raises:
            DataError: The outputs are of no kind that it is about.
        """
        if not outputs:
            raise DataError(
                "no output of the model is an array of numbers",
                where=f"metric {self.name}",
                remedy="Give a metric of your own: --metric FILE.py:FUNCTION",
            )
        if not all(closeness.finite for closeness in outputs.values()):
            return 0.0
        return self.function(outputs)


def _agreement(outputs: Mapping[str, Fidelity]) -> float:
    rates = [o.top1_agreement for o in outputs.values() if o.top1_agreement is not None]
    if not rates:
        raise DataError(
            "no output has classes on its last axis",
            where="metric agreement",
            remedy="Use the metric signal or cosine",
        )
    return min(rates)


def _cosine(outputs: Mapping[str, Fidelity]) -> float:
    return min((closeness.cosine for closeness in outputs.values()), default=1.0)


def _signal(outputs: Mapping[str, Fidelity]) -> float:
    return 1.0 - max((10 ** (-o.sqnr_db / 10) for o in outputs.values()), default=0.0)


RELATIVE_METRICS: tuple[RelativeMetric, ...] = (
    RelativeMetric(
        "agreement",
        "fraction of rows whose highest score stands where fp32 has it; needs no labels",
        _agreement,
    ),
    RelativeMetric("cosine", "mean cosine to the fp32 output; needs no labels", _cosine),
    RelativeMetric(
        "signal",
        "1 - noise / signal of the output, 0.99 being 20 dB SQNR; needs no labels",
        _signal,
    ),
)
"""Of several outputs the worst counts."""


def relative_metric(name: str) -> RelativeMetric | None:
    """The metric of that name, if it is one that needs no labels."""
    return next((metric for metric in RELATIVE_METRICS if metric.name == name.strip()), None)
