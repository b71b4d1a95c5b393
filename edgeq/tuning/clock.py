"""Times of candidates, and of their nodes, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.runtime.latency import compare_latency
from edgeq.runtime.profile import profiles
from edgeq.runtime.session import Session, SessionConfig
from edgeq.tuning.costs import measured_costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.runtime.profile import NodeTime
    from edgeq.tuning.candidate import Candidate
    from edgeq.tuning.costs import Costs
    from edgeq.tuning.workshop import Workshop
    from edgeq.types import Sample

NOTICEABLE = 1.03
"""Speed-ups below this are noise."""

_SAMPLES = 2
_SECONDS = 1.5


class Clock:
    """Times candidates in turn, on one thread unless the run has a number of them."""

    def __init__(self, workshop: Workshop) -> None:
        self.samples: Sequence[Sample] = workshop.samples[:_SAMPLES]
        self._threads = workshop.threads or 1
        self._entries = workshop.target.session_entries

    def speedup(self, before: Candidate, after: Candidate) -> float:
        """Time of one candidate by that of another."""
        return self._speedup(before.model, after.model)

    def is_faster(self, before: ir.Model, after: ir.Model) -> bool:
        """Whether a model is faster than another, beyond noise."""
        return self._speedup(before, after) >= NOTICEABLE

    def _speedup(self, before: ir.Model, after: ir.Model) -> float:
        left, right = (Session(model, self._config()) for model in (before, after))
        found = compare_latency(
            left, right, self.samples, threads=self._threads, min_rounds=9, seconds=_SECONDS
        )
        return found.speedup

    def costs(self, candidates: Sequence[Candidate], before: Costs) -> Costs:
        """What is known, and what profiles of candidates of one float model tell beyond."""
        model, costs = candidates[0].floats.model, before
        floating, *others = self.profiles(model, *(each.model for each in candidates))
        for each, mixed in zip(candidates, others, strict=True):
            inside = each.plan.integer_nodes
            costs = measured_costs(
                model, each.model, floating, mixed, inside, before.elements, costs
            )
        return costs

    def profiles(self, *models: ir.Model) -> tuple[tuple[NodeTime, ...], ...]:
        """Where the time of each of some models goes."""
        return profiles(models, self._config(), self.samples)

    def _config(self) -> SessionConfig:
        return SessionConfig(self._threads, entries=self._entries)
