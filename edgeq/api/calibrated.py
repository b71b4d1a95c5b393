"""A prepared model with what was observed of it: from data just read, or from a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.grounding import PROOF_SAMPLES, lay_ground, origin_of
from edgeq.api.measuring import input_specs
from edgeq.api.tables import require_prepared_alike, require_usable
from edgeq.calibration.collector import SampleStream, collect
from edgeq.calibration.sources import open_source
from edgeq.errors import RecipeError
from edgeq.quantization.ranges import calibrators_for, required_kinds

if TYPE_CHECKING:
    import os

    from edgeq.api.grounding import Ground
    from edgeq.api.stages import Stages
    from edgeq.calibration.collection import Collection
    from edgeq.calibration.table import CalibrationTable
    from edgeq.graph.loader import LoadedModel
    from edgeq.progress import Progress
    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A prepared model and what was observed of it, now or earlier.

    Attributes:
        ground: The prepared model, and what is wanted of it.
        collection: What was observed.
        described: Where the samples came from.
        assumptions: What was assumed about them.
    """

    ground: Ground
    collection: Collection
    described: str
    assumptions: tuple[str, ...]


def calibrated_from_data(
    loaded: LoadedModel,
    data: object,
    target: TargetProfile,
    recipe: Recipe,
    stages: Stages,
    progress: Progress,
    *,
    max_samples: int | None = None,
    threads: int = 0,
) -> Calibrated:
    """Prepare a model and run it over the data once.

    Raises:
        EdgeqError: The data cannot be used, or nothing of the model can be quantized.
    """
    with stages.stage("load"):
        source = open_source(data, input_specs(loaded.model), max_samples=max_samples)
        stream = SampleStream(source)
        first = stream.peek(PROOF_SAMPLES)
    with stages.stage("prepare"):
        ground = lay_ground(loaded, first, target, recipe, threads=threads)
    with stages.stage("calibrate"):
        collection = collect(
            ground.prepared.model,
            ground.observed,
            stream,
            required_kinds(calibrators_for(recipe.calibrator)),
            threads=threads,
            seed=recipe.seed or 0,
            total=source.length_hint(),
            progress=progress.samples,
        )
    return Calibrated(ground, collection, source.description, source.assumptions)


def calibrated_from_table(
    loaded: LoadedModel,
    given: CalibrationTable | str | os.PathLike[str],
    target: TargetProfile,
    recipe: Recipe,
    stages: Stages,
    *,
    allow_partial: bool = False,
    threads: int = 0,
) -> Calibrated:
    """Prepare as when the table was made; its kept samples stand for the data.

    Raises:
        EdgeqError: The table does not belong to this model, target and recipe.
        RecipeError: The recipe asks for samples kept with another seed.
    """
    kinds = required_kinds(calibrators_for(recipe.calibrator))
    with stages.stage("load"):
        wanted = origin_of(loaded, target, recipe, "", frozenset())
        table = require_usable(given, wanted, allow_partial=allow_partial)
        _require_seed(recipe.seed, table.collection.kept.seed)
    with stages.stage("prepare"):
        ground = lay_ground(
            loaded,
            table.first,
            target,
            recipe,
            threads=threads,
            left_out=table.facts.origin.left_out,
        )
        require_prepared_alike(table, ground, kinds)
    facts = table.facts
    lacking = f" ({table.lacking()})" if table.lacking() else ""
    described = f"{facts.description}, by way of a calibration table{lacking}"
    return Calibrated(ground, table.collection, described, facts.assumptions)


def _require_seed(wanted: int | None, there: int) -> None:
    if wanted not in (None, there):
        raise RecipeError(
            f"the samples of the calibration table were kept with seed {there}, not {wanted}",
            where="seed",
            remedy=f"Leave it out, or make another table with edgeq calibrate --seed {wanted}",
        )
