"""One quantized model among several, and how it is built and measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.errors import EdgeqError, ModelError
from edgeq.graph.walk import nodes
from edgeq.ops import Constraint, rule_for
from edgeq.quantization.annotate import annotate
from edgeq.quantization.insert import insert
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import choose_ranges
from edgeq.quantization.resolve import resolve
from edgeq.refinement.bias_correction import channel_means, correct_biases
from edgeq.runtime.paired import References, compare
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.collection import Collection
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
NOT_FINITE = "it reads or writes NaN or infinite numbers on calibration samples"


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

    @property
    def typical_db(self) -> float:
        """SQNR of the worst output in a typical sample, in dB: what candidates are compared by.

        The SQNR over all samples hangs on the few that tip over, which is luck on few samples.
        """
        return min(
            (o.typical_db if o.finite else -200.0 for o in self.outputs.values()), default=200.0
        )


class Workshop:
    """Builds candidates of one model from one pass of statistics, and measures them.

    Args:
        prepared: The float model to quantize; never changed.
        original: The model as it was given: what every candidate is measured against.
        target: What can run in integers.
        recipe: The user's choices.
        collection: What calibration observed; finalists are measured on all samples it kept.
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
        collection: Collection,
        calibrators: Mapping[str, Calibrator],
        samples: Sequence[Sample],
        *,
        threads: int = 0,
    ) -> None:
        self.prepared = prepared
        self.target = target
        self.samples = samples
        self._recipe = recipe
        self._statistics = inherited(prepared, collection.statistics)
        self._infinite = collection.infinite
        self._calibrators = calibrators
        self._config = SessionConfig(threads, entries=target.session_entries)
        self._original = Session(original, SessionConfig(threads), what="the original")
        self._references = References(self._original, samples)
        self._kept = collection.kept
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
        outputs = self._references.compare(self._open(model))
        return Candidate(choice, model, plan, ranges, outputs)

    def confirm(self, candidate: Candidate) -> Candidate:
        """The candidate measured on everything that was kept, so that luck plays no part."""
        if len(self._kept) <= len(self.samples):
            return candidate
        outputs = compare(self._original, self._open(candidate.model), self._kept)
        return replace(candidate, outputs=outputs)

    def _open(self, model: ir.Model) -> Session:
        """Open what edgeq made; that it does not load is nobody's mistake but ours."""
        try:
            return Session(model, self._config, what="the quantized model")
        except ModelError as error:
            raise EdgeqError(
                error.what,
                remedy="This is a defect of edgeq: please report it. --exclude the operator named",
            ) from error

    def _annotate(self, excluded: Mapping[str, str]) -> tuple[Annotations, dict[str, str]]:
        """Annotations that need no range of a value that no sample computed."""
        everything = dict(excluded)
        while True:
            annotations = annotate(self.prepared, self.target, self._recipe, everything)
            unseen = {ref.name for ref in annotations.observed() if not self._has_range(ref.name)}
            if not unseen:
                return annotations, everything
            before = len(everything)
            for reason, values in (
                (NOT_FINITE, unseen & self._infinite),
                (NO_SAMPLE, unseen - self._infinite),
            ):
                touching = _touching(self.prepared, annotations, values)
                everything = dict.fromkeys(touching, reason) | everything
            if len(everything) == before:
                raise EdgeqError(f"no layer needs the range of {min(unseen)!r}")

    def _has_range(self, value: str) -> bool:
        return value in self._statistics and self._statistics[value].count > 0

    def _input_means(self, plan: QuantPlan) -> Mapping[str, FloatArray]:
        if self._means is None:
            self._means = channel_means(self.prepared, plan, self.samples)
        return self._means


def inherited(model: ir.Model, statistics: Mapping[str, Statistics]) -> dict[str, Statistics]:
    """The statistics, and for what operators merely move or select, those of what they read.

    While such a value shares the numbers of its source nobody observes it. It needs a range of its
    own once the source is left float, and no element of it lies outside of the source's range.
    """
    known = dict(statistics)
    for node in nodes(model):
        rule = rule_for(node)
        source = node.inputs[0] if node.inputs else None
        if rule is None or rule.output is not Constraint.SAME_AS_INPUT or source is None:
            continue
        seen = known.get(source.name or "")
        for value in node.outputs:
            if seen is not None and value.name and value.name not in known:
                known[value.name] = seen
    return known


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
