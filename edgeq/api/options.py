"""The arguments of :func:`edgeq.quantize`, checked and resolved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError, nearest
from edgeq.passes.pipelines import PREPARE, names
from edgeq.recipe import SCHEMES, Recipe, load_recipe
from edgeq.targets import target_named
from edgeq.validation.verdict import DEFAULT, Thresholds, parse_drop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.targets import TargetProfile


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked to do.

    Attributes:
        target: The profile of the target.
        recipe: The user's choices, the arguments worked in.
        threads: Threads of onnxruntime; 0 lets it choose.
        seed: Seed of the kept sample.
        validate: Whether to measure and judge.
        thresholds: What to judge by.
        evaluation: Labelled data; None without a metric.
        metric: The task metric; None for none.
    """

    target: TargetProfile
    recipe: Recipe
    threads: int
    seed: int
    validate: bool
    thresholds: Thresholds
    evaluation: object
    metric: str | None


def resolve_options(
    scheme: str, target: str, calibrator: str | None, recipe: Recipe | str | Path | None,
    exclude: Sequence[str], threads: int, seed: int, validate: bool,
    max_drop: str | float | None, evaluation: object, metric: str | None,
) -> Options:  # fmt: skip
    """Check the arguments of :func:`edgeq.quantize` against each other.

    Raises:
        RecipeError: An argument is wrong, or one lacks its companion.
    """
    if scheme not in SCHEMES:
        raise RecipeError(
            f"unknown scheme {scheme!r}", where="scheme", remedy=nearest(scheme, SCHEMES)
        )
    if (evaluation is None) != (metric is None) or (max_drop is not None and metric is None):
        raise RecipeError(
            "evaluation data, a metric and a largest drop belong together",
            remedy="Give --eval DATA and --metric METRIC, and --max-drop only with them",
        )
    chosen = resolve_recipe(recipe, calibrator, exclude)
    thresholds = DEFAULT if validate else Thresholds()
    if max_drop is not None:
        drop, relative = parse_drop(str(max_drop))
        thresholds = Thresholds(
            thresholds.min_sqnr, thresholds.min_cosine, max_drop=drop, relative_drop=relative
        )
    return Options(
        target_named(target), chosen, threads, seed, validate, thresholds, evaluation, metric
    )


def resolve_recipe(
    recipe: Recipe | str | Path | None, calibrator: str | None, exclude: Sequence[str]
) -> Recipe:
    """The recipe with the arguments worked in.

    Raises:
        RecipeError: It cannot be read, or names a pass that there is not.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe or Recipe()
    chosen = chosen.with_changes(calibrator=calibrator, exclude=(*chosen.exclude, *exclude))
    known = names(PREPARE)
    for name in chosen.skip_passes:
        if name not in known:
            raise RecipeError(
                f"unknown pass {name!r}", where="skip_passes", remedy=nearest(name, known)
            )
    return chosen
