"""One quantized model among several, and how it is built and measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.quantization.annotate import annotate
from edgeq.quantization.insert import insert
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import choose_ranges
from edgeq.quantization.resolve import resolve
from edgeq.refinement.bias_correction import channel_means, correct_biases
from edgeq.runtime.paired import References
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.contract import Calibrator
    from edgeq.calibration.statistics import Statistics
    from edgeq.metrics import Fidelity
    from edgeq.quantization.annotate import Annotations
    from edgeq.quantization.plan import QuantPlan
    from edgeq.quantization.ranges import ChosenRange
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.types import FloatArray, Sample

NO_SAMPLE = "no calibration sample reached it"


@dataclass(frozen=True, slots=True)
class Choice:
    """What distinguishes one candidate from another.

    Attributes:
        calibrators: Names of those that may choose ranges, value by value.
        excluded: Nodes that stay float, each with the reason.
        corrected: Whether biases make up for rounded weights.
    """

    calibrators: tuple[str, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    corrected: bool = False

    def with_excluded(self, nodes: Sequence[str], reason: str) -> Choice:
        """The same with further nodes left float."""
        return replace(self, excluded={**self.excluded, **dict.fromkeys(nodes, reason)})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A quantized model and how close it is.

    Attributes:
        choice: How it was made.
        model: The quantized model.
        plan: Its numbers.
        ranges: The range of every observed value, and who chose it.
        outputs: Closeness of the outputs to the original on the measured samples.
    """

    choice: Choice
    model: ir.Model
    plan: QuantPlan
    ranges: Mapping[str, ChosenRange]
    outputs: Mapping[str, Fidelity]

    @property
    def sqnr_db(self) -> float:
        """SQNR of the worst output, in dB; -200 where numbers are not finite."""
        return min(
            (o.sqnr_db if o.finite else -200.0 for o in self.outputs.values()), default=200.0
        )


class Workshop:
    """Builds candidates of one model from one pass of statistics, and measures them.

    Args:
        prepared: The float model to quantize; never changed.
        original: The model as it was given: what every candidate is measured against.
        target: What can run in integers.
        recipe: The user's choices.
        statistics: What calibration observed.
        calibrators: All that a choice may name.
        samples: What candidates are measured on.
        threads: Threads of the sessions.
    """

    def __init__(
        self,
        prepared: ir.Model,
        original: ir.Model,
        target: TargetProfile,
        recipe: Recipe,
        statistics: Mapping[str, Statistics],
        calibrators: Mapping[str, Calibrator],
        samples: Sequence[Sample],
        *,
        threads: int = 0,
    ) -> None:
        self.prepared = prepared
        self.target = target
        self.samples = samples
        self._recipe = recipe
        self._statistics = statistics
        self._calibrators = calibrators
        self._config = SessionConfig(threads, entries=target.session_entries)
        session = Session(original, SessionConfig(threads), what="the original")
        self._references = References(session, samples)
        self._means: dict[str, FloatArray] | None = None

    def build(self, choice: Choice) -> Candidate:
        """Quantize as ``choice`` says, run the result and measure it."""
        annotations, excluded = self._annotate(choice.excluded)
        choice = replace(choice, excluded=excluded)
        calibrators = {name: self._calibrators[name] for name in choice.calibrators}
        ranges = choose_ranges(self.prepared, annotations, self._statistics, calibrators)
        bounds = {name: chosen.bounds for name, chosen in ranges.items()}
        plan = resolve(self.prepared, annotations, bounds)
        base = self.prepared
        if choice.corrected:
            base = correct_biases(base, plan, self._input_means(plan))
        model = insert(base, plan)
        session = Session(model, self._config, what="the quantized model")
        outputs = self._references.compare(session)
        return Candidate(choice, model, plan, ranges, outputs)

    def _annotate(self, excluded: Mapping[str, str]) -> tuple[Annotations, dict[str, str]]:
        """Annotations that need no range of a value that no sample computed."""
        everything = dict(excluded)
        while True:
            annotations = annotate(self.prepared, self.target, self._recipe, everything)
            unseen = {
                ref.name
                for ref in annotations.observed()
                if ref.name not in self._statistics or not self._statistics[ref.name].count
            }
            if not unseen:
                return annotations, everything
            everything |= dict.fromkeys(_touching(self.prepared, annotations, unseen), NO_SAMPLE)

    def _input_means(self, plan: QuantPlan) -> Mapping[str, FloatArray]:
        if self._means is None:
            self._means = channel_means(self.prepared, plan, self.samples)
        return self._means


def _touching(model: ir.Model, annotations: Annotations, values: set[str]) -> list[str]:
    """Static nodes that read or write one of the values, directly or through what they absorb."""
    absorbers = set(annotations.absorbed.values())
    found = []
    for node in model.graph.all_nodes():
        decision = annotations.decisions.get(node.name or "")
        if decision is None or decision.form not in (NodeForm.STATIC, NodeForm.ABSORBED):
            continue
        named = {v.name for v in (*node.inputs, *node.outputs) if v is not None}
        if named & values:
            found.append(annotations.absorbed.get(decision.node, decision.node))
        elif decision.node in absorbers and not named - values:
            found.append(decision.node)
    return found
