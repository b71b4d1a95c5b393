"""The stages that calibrating and quantizing share: from a model to the values to observe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.calibration.collector import require_enough
from edgeq.calibration.origin import Origin, ValueNote
from edgeq.graph import loader, opset
from edgeq.graph.fingerprint import fingerprint
from edgeq.graph.walk import node_name, nodes, values
from edgeq.passes.pipelines import for_quantizing
from edgeq.passes.prepare import prepare
from edgeq.quantization.annotate import annotate
from edgeq.quantization.eligibility import bridges
from edgeq.quantization.ranges import context_of
from edgeq.quantization.refusal import refuse_quantized, refuse_unreachable
from edgeq.runtime.session import Session, SessionConfig
from edgeq.types import QuantSpec, ValueRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.graph.loader import LoadedModel
    from edgeq.passes.prepare import Prepared
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample

PROOF_SAMPLES = 4
"""Samples at the beginning of the data that preparation is proven on."""

_MEASURED_SAMPLES = 32
_MEASURED_MACS = 5 * 10**10
"""Arithmetic of a model up to which it is run on more of them than preparation is proven on."""

_PREPARATION = 1
"""Counts up when a pass changes what values mean although the graph is built the same."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A prepared model and what is wanted of it.

    Attributes:
        loaded: The model as it was found.
        prepared: What passes made of it.
        specs: What is wanted of each value to observe.
        origin: What statistics of those values belong to.
    """

    loaded: LoadedModel
    prepared: Prepared
    specs: Mapping[ValueRef, QuantSpec]
    origin: Origin

    @property
    def observed(self) -> list[str]:
        """Names of the values to observe."""
        return [ref.name for ref in self.specs]

    def notes(self) -> tuple[ValueNote, ...]:
        """Where each of those values stands in the graph."""
        known, found = values(self.prepared.model), []
        for name in self.observed:
            context, spec = context_of(known[name]), self.specs[ValueRef(name)]
            found.append(
                ValueNote(
                    name, context.producer, context.consumers, spec.dtype.value, spec.symmetric
                )
            )
        return tuple(found)


def load(model: object) -> LoadedModel:
    """Load a float model.

    Raises:
        ModelError: It cannot be read.
        UnsupportedError: It is quantized already.
    """
    loaded = loader.load(model)
    refuse_quantized(loaded.model)
    return loaded


def lay_ground(
    loaded: LoadedModel,
    first: Sequence[Sample],
    target: TargetProfile,
    recipe: Recipe,
    *,
    threads: int = 0,
    left_out: Sequence[str] = (),
) -> Ground:
    """Prepare a model and decide which of its values to observe.

    Args:
        loaded: The model.
        first: Samples that the preparation is proven on.
        target: What can run in integers.
        recipe: The user's choices.
        threads: Threads of onnxruntime.
        left_out: Passes that are known to fail their proof.

    Raises:
        EdgeqError: The model does not run, a pattern of the recipe matches nothing, nothing can run
            in integers, or there are too few samples to find ranges.
    """
    Session(loaded.model, SessionConfig(threads)).run(first[0])
    raised = opset.upgrade(loaded.model, target.minimum_opset)
    skip = (*recipe.skip_passes, *left_out)
    prepared = prepare(raised, first, pipeline=for_quantizing(target), skip=skip)
    loaded = replace(
        loaded, notes=(*loaded.notes, *require_meant(recipe, loaded.model, prepared.model))
    )
    annotations = annotate(prepared.model, target, recipe)
    refuse_unreachable(prepared.model, annotations.decisions, target)
    specs = annotations.ranged()
    if specs:
        specs |= annotations.spared()
    if target.executable_here:
        # Whether bridges are crossed shows later; by then their ranges are wanted.
        crossing = bridges(prepared.model, target)
        specs |= annotate(prepared.model, target, recipe, bridged=crossing).ranged()
    if specs:
        require_enough(first)
    dropped = {*left_out, *(each.name for each in prepared.dropped)}
    structure = f"{_PREPARATION}:{fingerprint(prepared.model)}"
    origin = origin_of(loaded, target, recipe, structure, dropped)
    return Ground(loaded, prepared, specs, origin)


def origin_of(
    loaded: LoadedModel,
    target: TargetProfile,
    recipe: Recipe,
    preparation: str,
    left_out: set[str] | frozenset[str],
) -> Origin:
    """What statistics belong to that are collected for these choices."""
    return Origin(
        model_sha256=loaded.sha256,
        preparation=preparation,
        left_out=tuple(sorted(left_out)),
        target=target.identity,
        exclude=tuple(sorted(set(recipe.exclude))),
        include=tuple(sorted(set(recipe.include))),
        skip_passes=tuple(sorted(set(recipe.skip_passes))),
    )


def require_meant(recipe: Recipe, given: ir.Model, prepared: ir.Model) -> tuple[str, ...]:
    """Refuse patterns that match nothing, neither in the model as given nor as prepared.

    Returns:
        Sentences about those that match nodes of the given model only.

    Raises:
        RecipeError: A pattern matches nothing.
    """
    left, known = ([(node_name(n), n.op_type) for n in nodes(m)] for m in (prepared, given))
    recipe.require_matches((*known, *left))
    return tuple(
        f"Pattern {pattern!r} has no effect: the nodes it names were merged into others or removed"
        for pattern in recipe.without_effect(left)
    )


def measured_samples(macs: Mapping[str, int | None]) -> int:
    """How many samples to measure every candidate on: fewer of a model that takes long.

    Arithmetic is counted rather than time, so that the result does not depend on the machine.

    Args:
        macs: Multiply-accumulates of each node for a sample.
    """
    once = sum(count or 0 for count in macs.values())
    return max(PROOF_SAMPLES, min(_MEASURED_SAMPLES, _MEASURED_MACS // max(once, 1)))
