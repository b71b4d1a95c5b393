"""One quantized model among several: what distinguishes it, and how close it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.quantization.pairs import PairForm
from edgeq.refinement.steps import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.statistics import Statistics
    from edgeq.metrics import Fidelity
    from edgeq.quantization.plan import QuantPlan
    from edgeq.quantization.ranges import ChosenRange
    from edgeq.recipe import Recipe
    from edgeq.refinement.steps import Step


CLOSE_DB = 30.0
"""Closeness from which more is no reason to give anything up: errors are a thirtieth of the
signal."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What distinguishes one candidate from another.

    Attributes:
        calibrators: Names of those that may choose ranges, value by value.
        excluded: Nodes that stay float, each with the reason.
        steps: Names of the recovery steps that are taken.
        pairs: What is done about weights of which two products can saturate.
        integer_for_speed: Bridges between integer operators that run in integers.
        float_for_speed: Nodes that stay float because that is faster, each with the reason.
    """

    calibrators: tuple[str, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    steps: frozenset[str] = frozenset()
    pairs: PairForm = PairForm.FULL
    integer_for_speed: frozenset[str] = frozenset()
    float_for_speed: Mapping[str, str] = field(default_factory=dict)

    @property
    def left_float(self) -> Mapping[str, str]:
        """All nodes that stay float, each with the reason."""
        return {**self.float_for_speed, **self.excluded}

    @property
    def is_coupled(self) -> bool:
        """Whether a step that is taken makes up for the errors of other layers."""
        return any(step.coupled and step.name in self.steps for step in STEPS)

    def with_excluded(self, nodes: Sequence[str], reason: str) -> Choice:
        """The same with further nodes left float."""
        return replace(self, excluded={**self.excluded, **dict.fromkeys(nodes, reason)})

    def with_unseen(self, nodes: Mapping[str, str]) -> Choice:
        """The same with the nodes left float that no sample tells the ranges of."""
        return replace(self, excluded={**nodes, **self.excluded})

    def uncoupled(self, skipped: Container[str] = ()) -> Choice:
        """The same without the steps that make up for errors of other layers.

        What they replaced takes their place.

        Args:
            skipped: Names of steps that are not to be taken.
        """
        coupled = [step for step in STEPS if step.coupled]
        gone = {step.name for step in coupled}
        replaced = {n for step in coupled if step.name in self.steps for n in step.replaces}
        back = {name for name in replaced - gone if name not in skipped}
        return replace(self, steps=(self.steps - gone) | back)

    def with_step(self, step: Step) -> Choice:
        """The same with one more recovery step."""
        return replace(self, steps=(self.steps - set(step.replaces)) | {step.name})

    def has_room_for(self, step: Step) -> bool:
        """Whether no step that is taken leaves another one nothing to do."""
        return not any(step.name in o.replaces for o in STEPS if o.name in self.steps)


def settled(recipe: Recipe, choice: Choice, seed: int) -> Recipe:
    """The recipe that leads to a choice without searching.

    Args:
        recipe: The recipe that was searched under.
        choice: What was found.
        seed: That of the samples that were kept.
    """
    alone = len(choice.calibrators) == 1
    given = recipe.calibrator.split(":", 1)[0]
    calibrator = choice.calibrators[0] if alone and choice.calibrators[0] != given else None
    return recipe.with_changes(
        calibrator=calibrator,
        left_float=tuple(choice.excluded),
        integer_for_speed=tuple(sorted(choice.integer_for_speed)),
        float_for_speed=tuple(choice.float_for_speed),
        steps=tuple(step.name for step in STEPS if step.name in choice.steps),
        search=False,
        seed=seed,
        pairs=choice.pairs.value if choice.pairs is not PairForm.FULL else None,
    )


@dataclass(frozen=True, eq=False, slots=True)
class FloatModel:
    """A float model that is ready to be quantized.

    Attributes:
        model: The prepared model, as the steps that act on it left it.
        statistics: What was observed, by value; also of values that merely repeat others.
        infinite: Values that were NaN or infinite on some sample.
        notes: What was done to it that the user should hear.
    """

    model: ir.Model
    statistics: Mapping[str, Statistics]
    infinite: frozenset[str]
    notes: tuple[str, ...] = ()

    def knows(self, value: str) -> bool:
        """Whether a sample computed the value, and it was finite."""
        return value in self.statistics and self.statistics[value].count > 0


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Candidate:
    """A quantized model and how close it is.

    Attributes:
        choice: How it was made.
        floats: The float model that was quantized, and what was observed of it.
        adjusted: That model with the weights and biases that were chosen for the plan.
        model: The quantized model.
        plan: Its numbers.
        ranges: The range of every observed value, and who chose it.
        outputs: Closeness of the outputs to the original on the measured samples.
        parts: That of the parts of outputs that hold unlike things, boxes beside scores: they
            count as much as outputs do.
    """

    choice: Choice
    floats: FloatModel
    adjusted: ir.Model
    model: ir.Model
    plan: QuantPlan
    ranges: Mapping[str, ChosenRange]
    outputs: Mapping[str, Fidelity]
    parts: Mapping[str, Fidelity] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Fidelity, ...]:
        """The closeness of everything that counts."""
        return (*self.outputs.values(), *self.parts.values())

    @property
    def sqnr_db(self) -> float:
        """SQNR of the worst output, in dB; -200 where numbers are not finite."""
        return self._worst(lambda closeness: closeness.sqnr_db)

    @property
    def sure_db(self) -> float:
        """SQNR that the worst output will hardly fall short of on other samples, in dB."""
        return self._worst(lambda closeness: closeness.sure_db)

    @property
    def typical_db(self) -> float:
        """SQNR of the worst output in a typical sample, in dB: what candidates are compared by.

        The SQNR over all samples hangs on the few that tip over, which is luck on few samples.
        """
        return self._worst(lambda closeness: closeness.typical_db)

    @property
    def is_close(self) -> bool:
        """Whether errors hardly matter, over all samples and in a typical one."""
        return min(self.sqnr_db, self.typical_db) >= CLOSE_DB

    def _worst(self, measure: Callable[[Fidelity], float]) -> float:
        return min((measure(o) if o.finite else -200.0 for o in self.judged), default=200.0)
