"""The float model that is quantized, as it is behind the recovery steps that act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.collector import collect
from edgeq.errors import EdgeqError
from edgeq.graph.walk import nodes
from edgeq.ops import Constraint, rule_for
from edgeq.quantization.annotate import Annotator
from edgeq.quantization.lookups import store_lookups
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import required_kinds
from edgeq.refinement import steps
from edgeq.refinement.bias_correction import input_axes
from edgeq.refinement.channels import channel_ranges
from edgeq.refinement.equalization import equalize
from edgeq.refinement.scaling import channel_axes
from edgeq.refinement.smoothing import migrate_scales
from edgeq.tuning.candidate import Choice, FloatModel

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.collection import Collection
    from edgeq.calibration.contract import Calibrator
    from edgeq.calibration.statistics import Statistics
    from edgeq.quantization.annotate import Annotations
    from edgeq.recipe import Recipe
    from edgeq.refinement.channels import Channels
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample

NO_SAMPLE = "no calibration sample reached it"
NOT_FINITE = "it reads or writes NaN or infinite numbers on calibration samples"


class FloatModels:
    """Applies steps to the float model, each once, and remembers what was observed.

    Args:
        prepared: The float model; never changed.
        target: What can run in integers.
        recipe: The user's choices.
        collection: What calibration observed.
        calibrators: Those that what is observed anew has to serve.
        learning: What steps learn from.
        threads: Threads of the sessions.
    """

    def __init__(
        self,
        prepared: ir.Model,
        target: TargetProfile,
        recipe: Recipe,
        collection: Collection,
        calibrators: Mapping[str, Calibrator],
        learning: Sequence[Sample],
        *,
        threads: int = 0,
    ) -> None:
        self._target = target
        self._recipe = recipe
        self._kept = collection.kept
        self._kinds = required_kinds(calibrators)
        self._learning = learning
        self._threads = threads
        base = prepared.clone()
        # Elsewhere 8-bit integers without a Q/DQ pair may be no type of a tensor (TensorRT, QNN).
        notes = store_lookups(base, recipe) if target.contrib_operators else ()
        seen = inherited(base, collection.statistics)
        self._made: dict[tuple[str, ...], FloatModel] = {
            (): FloatModel(base, seen, frozenset(collection.infinite), notes)
        }
        self._annotators: dict[FloatModel, Annotator] = {}
        # None for what was looked for and not found.
        self._channels: dict[FloatModel, dict[str, Channels | None]] = {}

    def behind(self, taken: Container[str]) -> FloatModel:
        """The model behind those of the named steps that act on it.

        A step that changes nothing gives the model that it was given.
        """
        acting = tuple(
            s.name for s in steps.STEPS if s.stage is steps.Stage.FLOAT and s.name in taken
        )
        for done in range(1, len(acting) + 1):
            if acting[:done] not in self._made:
                before = self._made[acting[: done - 1]]
                self._made[acting[:done]] = self._rewritten(before, acting[done - 1])
        return self._made[acting]

    def channels(self, floats: FloatModel) -> dict[str, Channels]:
        """What learning samples show channel by channel of the values for which that counts.

        Observed once; behind a step only what its factors do not tell.
        """
        known = self._channels.setdefault(floats, {})
        axes = {**input_axes(floats.model), **channel_axes(floats.model)}
        unknown = {name: axis for name, axis in axes.items() if name not in known}
        if unknown:
            found = channel_ranges(floats.model, unknown, self._learning)
            known |= {name: found.get(name) for name in unknown}
        return {name: seen for name, seen in known.items() if seen is not None}

    def annotate(self, floats: FloatModel, choice: Choice) -> tuple[Annotations, dict[str, str]]:
        """Annotations that need no range of a value that no sample computed.

        Returns:
            The annotations, and the further nodes that stay float for that, each with the reason.
        """
        found: dict[str, str] = {}
        if floats not in self._annotators:
            self._annotators[floats] = Annotator(floats.model, self._target, self._recipe)
        while True:
            excluded = {**found, **choice.left_float}
            annotations = self._annotators[floats].annotate(excluded, choice.integer_for_speed)
            unseen = {ref.name for ref in annotations.observed() if not floats.knows(ref.name)}
            if not unseen:
                return annotations, found
            before = len(found)
            for reason, values in (
                (NOT_FINITE, unseen & floats.infinite),
                (NO_SAMPLE, unseen - floats.infinite),
            ):
                touching = _touching(floats.model, annotations, values)
                found = dict.fromkeys(touching, reason) | found
            if len(found) == before:
                raise EdgeqError(f"no layer needs the range of {min(unseen)!r}")

    def _rewritten(self, floats: FloatModel, step: str) -> FloatModel:
        """What a step makes of a model; the values it changes are observed anew."""
        annotations, _ = self.annotate(floats, Choice(()))
        channels = self.channels(floats)
        rewrite = equalize if step == steps.EQUALIZE.name else migrate_scales
        found = rewrite(floats.model, annotations, channels)
        if not found.scaled:
            return floats
        known = {n: s for n, s in floats.statistics.items() if n not in found.changed}
        changed = sorted(found.changed)
        seen = collect(found.model, changed, self._kept, self._kinds, threads=self._threads)
        made = FloatModel(
            found.model,
            inherited(found.model, {**known, **seen.statistics}),
            (floats.infinite - found.changed) | frozenset(seen.infinite),
            (*floats.notes, *found.notes),
        )
        alike = {n: c for n, c in channels.items() if n not in found.changed}
        scaled = {n: c.times(found.factors[n]) for n, c in channels.items() if n in found.factors}
        self._channels[made] = {**alike, **scaled}
        return made


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
    absorbers = set(annotations.makers.values())
    found = []
    for node in model.graph.all_nodes():
        decision = annotations.decisions.get(node.name or "")
        if decision is None or decision.form not in (NodeForm.STATIC, NodeForm.ABSORBED):
            continue
        named = {v.name for v in (*node.inputs, *node.outputs) if v is not None}
        if named & values:
            found.append(annotations.makers.get(decision.node, decision.node))
        elif decision.node in absorbers and not named - values:
            found.append(decision.node)
    return found
