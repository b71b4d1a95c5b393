"""Builds candidates of one model and measures them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from edgeq.errors import EdgeqError, ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.parts import parts_of
from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.quantization.insert import insert
from edgeq.quantization.left_float import left_in_half
from edgeq.quantization.pairs import settled
from edgeq.quantization.ranges import choose_ranges
from edgeq.quantization.resolve import resolve
from edgeq.recipe import HALF
from edgeq.refinement import steps
from edgeq.refinement.bias_correction import correct_biases, is_correctable
from edgeq.refinement.empirical_bias import correct_biases_empirically
from edgeq.refinement.rounding import round_weights
from edgeq.runtime.paired import References
from edgeq.runtime.session import QUANTIZED, VERSION, Session, SessionConfig
from edgeq.targets import releases
from edgeq.tuning.candidate import Candidate
from edgeq.tuning.floats import FloatModels
from edgeq.tuning.in_parts import InParts

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.collection import Collection
    from edgeq.calibration.contract import Calibrator
    from edgeq.metrics import Fidelity
    from edgeq.quantization.annotate import Annotations
    from edgeq.quantization.plan import QuantPlan
    from edgeq.recipe import Recipe
    from edgeq.refinement.steps import Step
    from edgeq.runtime.paired import Comparison
    from edgeq.targets import TargetProfile
    from edgeq.tuning.candidate import Choice, FloatModel
    from edgeq.tuning.contributions import Contributions
    from edgeq.types import Sample


class Workshop:
    """Builds candidates of one model from one pass of statistics, and measures them.

    Args:
        prepared: The float model to quantize; never changed.
        original: The model as it was given: what every candidate is measured against.
        target: What can run in integers.
        recipe: The user's choices.
        collection: What calibration observed.
        calibrators: All that a choice may name.
        samples: What candidates are measured on.
        learning: What recovery steps learn from; better not what is measured on.
        others: What finalists are measured on beside ``samples``.
        further: What steps learn from beside ``learning`` once everything is decided: samples that
            were measured on until then.
        threads: Threads of the sessions.

    Attributes:
        contributions: What each rounding of candidates costs, as far as it has been measured.
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
        learning: Sequence[Sample],
        others: Sequence[Sample] = (),
        further: Sequence[Sample] = (),
        *,
        threads: int = 0,
    ) -> None:
        self.target = target
        self.original = original
        self.samples = samples
        self.threads = threads
        self.recipe = recipe
        self._learning = learning
        self._everything = (*learning, *further)
        self._calibrators = calibrators
        self._config = SessionConfig(threads, entries=target.session_entries)
        self._parts = parts_of(prepared)
        whole = Session(original, SessionConfig(threads), what="the original")
        right = InParts(whole, self._parts, found_only=True)
        self._references = References(right, samples)
        self._others = others
        self._other_references = References(right, others)
        self._floats = FloatModels(
            prepared, target, recipe, collection, calibrators, learning, threads=threads
        )
        self._last_rounded: tuple[tuple[Choice, int], ir.Model] | None = None
        self._measured: WeakKeyDictionary[Candidate, Comparison] = WeakKeyDictionary()
        self._confirmed: WeakKeyDictionary[Candidate, Candidate] = WeakKeyDictionary()
        self.contributions: WeakKeyDictionary[Candidate, Contributions] = WeakKeyDictionary()

    def build(
        self,
        choice: Choice,
        *,
        like: Candidate | None = None,
        same_weights: bool = False,
        from_all: bool = False,
    ) -> Candidate:
        """Quantize as ``choice`` says, run the result and measure it.

        Args:
            choice: What to do.
            like: A candidate with no more nodes left float: what it has in common with the choice
                is taken over instead of being computed again.
            same_weights: Whether to take over its weights, too, where they make up for errors of
                layers that may be float now.
            from_all: Whether steps that make up for errors learn from all samples, those included
                that candidates are measured on: of what is not to be compared with others.
        """
        floats = self._floats.behind(choice.steps)
        annotations, unseen = self._floats.annotate(floats, choice)
        choice = choice.with_unseen(unseen)
        calibrators = {name: self._calibrators[name] for name in choice.calibrators}
        ranges = choose_ranges(floats.model, annotations, floats.statistics, calibrators)
        bounds = {name: chosen.bounds for name, chosen in ranges.items()}
        plan = resolve(
            floats.model, annotations, bounds, weights=self.recipe.weights, pairs=choice.pairs
        )
        if like is not None and (same_weights or _weights_alike(like, choice)):
            adjusted = with_original_constants(like.adjusted, floats.model, plan.integer_nodes)
        else:
            learning = self._everything if from_all else self._learning
            adjusted = self._adjust(floats, plan, choice, learning)
        adjusted = settled(adjusted, plan)
        model = insert(adjusted, plan)
        if self.recipe.float_type == HALF:
            plan = replace(plan, decisions=left_in_half(model, plan.decisions, self.target))
        found = self._references.compare(self._in_parts(model))
        outputs, parts = self._judged(found)
        built = Candidate(choice, floats, adjusted, model, plan, ranges, outputs, parts)
        self._measured[built] = found
        return built

    def confirm(self, candidate: Candidate) -> Candidate:
        """The candidate measured on the other samples, too, so that luck plays no part.

        Measured once, however often it is asked for.
        """
        if candidate in self._measured and self._others:
            found = self._measured.pop(candidate)
            found = self._other_references.compare(self._in_parts(candidate.model), found)
            outputs, parts = self._judged(found)
            self._confirmed[candidate] = replace(candidate, outputs=outputs, parts=parts)
        return self._confirmed.get(candidate, candidate)

    def learned_again(self, candidate: Candidate) -> Candidate:
        """The candidate with weights and biases that were learned from all samples.

        For the end, when nothing is left to decide: what it is measured on is among them. As it is
        where no step has learned any, or there is nothing more to learn from.
        """
        if len(self._everything) == len(self._learning) or not candidate.choice.is_coupled:
            return candidate
        return self.build(candidate.choice, like=candidate, from_all=True)

    @property
    def calibrators(self) -> tuple[str, ...]:
        """The names that a choice may give."""
        return tuple(self._calibrators)

    @property
    def most_learned_from(self) -> int:
        """How many samples there are to learn from."""
        return len(self._everything)

    def open(self, model: ir.Model) -> Session:
        """Open what edgeq made; that it does not load is hardly anybody's mistake but ours.

        Raises:
            UnsupportedError: The onnxruntime that is installed is too old.
            EdgeqError: It does not load.
        """
        try:
            return Session(model, self._config, what=QUANTIZED)
        except ModelError as error:
            releases.require(model, VERSION)
            raise EdgeqError(
                error.what,
                remedy="This is a defect of edgeq: please report it. --exclude the operator named",
            ) from error

    def _in_parts(self, model: ir.Model) -> InParts:
        return InParts(self.open(model), self._parts)

    def _judged(self, found: Comparison) -> tuple[dict[str, Fidelity], dict[str, Fidelity]]:
        """The closeness of the outputs, and of the parts of them."""
        result, names = found.result(), {part.name for part in self._parts}
        parts = {name: result[name] for name in result.keys() & names}
        return {name: each for name, each in result.items() if name not in names}, parts

    def annotations(self, candidate: Candidate, further: Sequence[str] = ()) -> Annotations:
        """What of a candidate would be quantized if further nodes stayed float."""
        return self._floats.annotate(candidate.floats, candidate.choice.with_excluded(further, ""))[
            0
        ]

    def applies(self, step: Step, candidate: Candidate) -> bool:
        """Whether a recovery step has anything to act on in a candidate, and changes it."""
        floats, plan = candidate.floats, candidate.plan
        if not candidate.choice.has_room_for(step):
            return False
        if step.on_biases:
            return is_correctable(floats.model, plan)
        match step.stage:
            case steps.Stage.FLOAT:
                return self._floats.behind({*candidate.choice.steps, step.name}) is not floats
            case steps.Stage.WEIGHTS:
                return bool(plan.weights or plan.dynamic)

    def _adjust(
        self, floats: FloatModel, plan: QuantPlan, choice: Choice, learning: Sequence[Sample]
    ) -> ir.Model:
        """The float model with the weights and biases that the steps choose for the plan."""
        base = floats.model
        if {steps.ROUND.name, steps.ROUND_WEIGHTS.name} & choice.steps:
            base = self._rounded(floats, plan, choice, learning)
        if steps.BIAS.name in choice.steps:
            base = correct_biases(base, plan, self._floats.channels(floats))
        if steps.BIAS_MEASURED.name in choice.steps:
            base = correct_biases_empirically(
                floats.model, base, plan, learning, threads=self.threads
            )
        return base

    def _rounded(
        self, floats: FloatModel, plan: QuantPlan, choice: Choice, learning: Sequence[Sample]
    ) -> ir.Model:
        """The float model with learned weights; the last one is remembered.

        Steps that only change biases are tried on top of it, and rounding takes longest of all.
        """
        without = replace(choice, steps=choice.steps - {steps.BIAS.name, steps.BIAS_MEASURED.name})
        key = (without, len(learning))
        if self._last_rounded is None or self._last_rounded[0] != key:
            with_biases = steps.ROUND.name in choice.steps
            found = round_weights(
                floats.model, plan, learning, with_biases=with_biases, threads=self.threads
            )
            self._last_rounded = (key, found.model)
        return self._last_rounded[1]


def _weights_alike(candidate: Candidate, choice: Choice) -> bool:
    """Whether the layers that both quantize have the same weights and biases."""
    same_steps = candidate.choice.steps == choice.steps
    same_steps &= candidate.choice.pairs is choice.pairs
    return (
        same_steps and not choice.is_coupled and candidate.choice.calibrators == choice.calibrators
    )


def with_original_constants(
    adjusted: ir.Model, original: ir.Model, but_of: Container[str]
) -> ir.Model:
    """A copy of a model whose nodes read the constants of another one, but for some.

    Args:
        adjusted: The model; the other one with other weights and biases.
        original: That other model.
        but_of: Names of the nodes that keep what they have.
    """
    copy = adjusted.clone()
    before = {node_name(node): node for node in nodes(original)}
    names = rewire.Names(copy)
    for node in nodes(copy):
        old = before.get(node_name(node))
        if old is None or node_name(node) in but_of:
            continue
        for index, (here, there) in enumerate(zip(node.inputs, old.inputs, strict=False)):
            data = constants.tensor(there)
            if here is None or there is None or data is None or here.name == there.name:
                continue
            fresh = rewire.add_initializer(copy.graph, names.value(name_of(there)), data.numpy())
            node.replace_input_with(index, fresh)
    return copy
