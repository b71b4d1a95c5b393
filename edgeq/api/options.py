"""The arguments of :func:`edgeq.quantize`, checked and resolved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.api.block_options import BlockChoice, resolve_blocks
from edgeq.api.caching import require_cache_choice
from edgeq.errors import RecipeError, nearest
from edgeq.passes.pipelines import PREPARE_FOR_ONNXRUNTIME, for_quantizing, names
from edgeq.recipe import (
    CONVERTED_SCHEMES,
    FLOAT_SCHEMES,
    HALF,
    NAMED,
    SCHEMES,
    Recipe,
    load_recipe,
)
from edgeq.refinement.steps import STEPS
from edgeq.targets import TARGETS, target_named
from edgeq.tuning.budget import Limits
from edgeq.tuning.costs_file import read_costs
from edgeq.tuning.given import GivenCosts
from edgeq.validation.verdict import DEFAULT, Thresholds, parse_drop
from edgeq.weight_only.scheme import STANDARD
from edgeq.weight_only.standard import STANDARD_OPSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.targets import TargetProfile
    from edgeq.weight_only.scheme import BlockScheme


WIDE: Final = "a16w8"
"""int8 with activations of 16 bits, where the target takes them."""

FLOAT8: Final = "fp8"
"""Weights and what products read in float8, where the target takes them."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked to do.

    Attributes:
        target: The profile of the target.
        recipe: The user's choices, the arguments worked in.
        threads: Threads of onnxruntime; 0 lets it choose.
        validate: Whether to measure and judge.
        thresholds: What to judge by.
        evaluation: Labelled data; None without a metric.
        metric: The task metric; None for one that needs no labels.
        limits: How long to search for a budget.
        scheme: Name of the scheme.
        blocks: How weights are stored in blocks, where the scheme does that.
        latency_tuning: Whether times decide which nodes run in integers.
        costs: Those times, measured elsewhere; None to measure them here.
        kv_cache: What becomes of the cache of a language model; None for nothing.
    """

    target: TargetProfile
    recipe: Recipe
    threads: int
    validate: bool
    thresholds: Thresholds
    evaluation: object
    metric: str | None
    limits: Limits
    scheme: str = "int8"
    blocks: BlockScheme | None = None
    latency_tuning: bool = True
    costs: GivenCosts | None = None
    kv_cache: str | None = None

    @property
    def has_budget(self) -> bool:
        """Whether a largest drop is given."""
        return self.thresholds.max_drop is not None

    @property
    def is_standard(self) -> bool:
        """Whether the result consists of operators of the ONNX standard."""
        return _is_standard(self.scheme, self.blocks)

    @property
    def minimum_opset(self) -> int:
        """The opset that the form of the result needs."""
        standard = self.blocks is not None and self.blocks.format == STANDARD
        return STANDARD_OPSET if standard else 0


def resolve_options(
    scheme: str, target: str, calibrator: str | None, recipe: Recipe | str | Path | None,
    exclude: Sequence[str], threads: int, seed: int | None, validate: bool,
    max_drop: str | float | None, evaluation: object, metric: str | None,
    max_trials: int | None = None, time_limit: float | None = None,
    skip_steps: Sequence[str] = (), blocks: BlockChoice | None = None, *, has_data: bool = True,
    latency_tuning: bool = True, costs: Sequence[str | Path] = (), kv_cache: str | None = None,
    float_type: str | None = None,
) -> Options:  # fmt: skip
    """Check the arguments of :func:`edgeq.quantize` against each other.

    Raises:
        RecipeError: An argument is wrong, or one lacks its companion.
    """
    if scheme not in SCHEMES:
        raise RecipeError(
            f"unknown scheme {scheme!r}", where="scheme", remedy=nearest(scheme, SCHEMES)
        )
    if evaluation is None and (metric is not None or max_drop is not None):
        raise RecipeError(
            "a metric and a largest drop need evaluation data",
            remedy="Give --eval DATA, samples that are not among those of --calib",
        )
    if max_drop is None and (max_trials is not None or time_limit is not None):
        raise RecipeError(
            "there is no budget to search for",
            where="max_trials or time_limit",
            remedy="Give --max-drop, too",
        )
    _require_limits(max_trials, time_limit)
    if scheme in CONVERTED_SCHEMES:
        _require_nothing_to_search(scheme, calibrator, skip_steps, max_trials, time_limit)
    chosen = resolve_recipe(recipe, calibrator, exclude, skip_steps, float_type).with_changes(
        seed=seed
    )
    if not chosen.search and (max_trials is not None or time_limit is not None):
        raise RecipeError(
            "the recipe has nothing searched for, and nothing to limit",
            where="max_trials or time_limit",
            remedy="Leave the limit out, or write search = true in the recipe",
        )
    in_blocks = resolve_blocks(scheme, blocks or BlockChoice(), has_data=has_data)
    profile = target_named(target)
    profile = with_floats(_fed(profile, scheme), chosen, scheme)
    if scheme in CONVERTED_SCHEMES:
        require_operators(profile, scheme, in_blocks)
    if kv_cache is not None:
        operators = profile.contrib_operators
        require_cache_choice(kv_cache, scheme, has_data=has_data, has_operators=operators)
    thresholds = DEFAULT if validate else Thresholds()
    if max_drop is not None:
        drop, relative = parse_drop(str(max_drop))
        thresholds = Thresholds(
            thresholds.min_sqnr, thresholds.min_cosine, max_drop=drop, relative_drop=relative
        )
    limits = Limits(Limits().trials if max_trials is None else max_trials, time_limit)
    return Options(
        profile, chosen, threads, validate, thresholds, evaluation, metric,
        limits, scheme, in_blocks, latency_tuning,
        _given_costs(costs, scheme, chosen, latency_tuning=latency_tuning), kv_cache,
    )  # fmt: skip


def _fed(target: TargetProfile, scheme: str) -> TargetProfile:
    """The target with the activations of a scheme.

    Raises:
        RecipeError: It takes none of these.
    """
    if scheme == WIDE:
        fed, able = target.with_wide_activations(), [t for t in TARGETS if t.wide_activation]
        what, key = "activations of 16 bits", "wide_activation"
    elif scheme == FLOAT8:
        fed, able = target.with_float8(), [t for t in TARGETS if t.float8_kernels]
        what, key = "float8", "float8_kernels"
    else:
        return target
    if fed is None:
        raise RecipeError(
            f"target {target.name} takes no {what}",
            where=f"--scheme {scheme}",
            remedy=f"Take --target {' or '.join(t.name for t in able)}, or a profile with {key}",
        )
    return fed


def with_floats(target: TargetProfile, recipe: Recipe, scheme: str = "int8") -> TargetProfile:
    """The target with what a recipe wants of that which is left float.

    Raises:
        RecipeError: It has no use for float16, or the scheme is one of floats anyway.
    """
    if recipe.float_type != HALF:
        return target
    if scheme in FLOAT_SCHEMES:
        raise RecipeError(
            f"scheme {scheme} says what all floats become",
            where="float_type",
            remedy="Leave it out, or take --scheme int8",
        )
    found = target.with_half_floats()
    if found is None:
        able = [each.name for each in TARGETS if each.with_half_floats() is not None]
        raise RecipeError(
            f"target {target.name} is not known to compute floats in float16, nor to convert "
            "constants of float16 while it loads a model",
            where="float_type",
            remedy=f"Leave it out, or take --target {', '.join(able[:-1])} or {able[-1]}",
        )
    return found


def _given_costs(
    files: Sequence[str | Path], scheme: str, recipe: Recipe, *, latency_tuning: bool
) -> GivenCosts | None:
    """What the files tell; None without files.

    Raises:
        RecipeError: One cannot be read, or nothing would be decided by them.
    """
    if not files:
        return None
    why = None
    if scheme in CONVERTED_SCHEMES:
        why = f"scheme {scheme} places nothing by times"
    elif not latency_tuning:
        why = "times are not to decide (--no-latency-tuning)"
    elif not recipe.search:
        why = "the recipe has nothing searched for"
    if why is not None:
        raise RecipeError(
            f"{why}, and costs are times",
            where="--costs",
            remedy="Leave one of the two out",
        )
    return GivenCosts(tuple(read_costs(file) for file in files))


def resolve_recipe(
    recipe: Recipe | str | Path | None,
    calibrator: str | None,
    exclude: Sequence[str],
    skip_steps: Sequence[str] = (),
    float_type: str | None = None,
) -> Recipe:
    """The recipe with the arguments worked in.

    Raises:
        RecipeError: It cannot be read, or names a pass that there is not.
    """
    chosen = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe or Recipe()
    chosen = chosen.with_changes(
        calibrator=calibrator,
        exclude=(*chosen.exclude, *exclude),
        skip_steps=(*chosen.skip_steps, *skip_steps),
        float_type=float_type,
    )
    pipelines = (PREPARE_FOR_ONNXRUNTIME, *map(for_quantizing, TARGETS))
    known = [name for pipeline in pipelines for name in names(pipeline)]
    for name in chosen.skip_passes:
        if name not in known:
            raise RecipeError(
                f"unknown pass {name!r}", where="skip_passes", remedy=nearest(name, known)
            )
    _require_known("skip_steps", chosen.skip_steps, [step.name for step in STEPS])
    _require_known("steps", chosen.steps, [step.name for step in STEPS])
    for key, values in NAMED.items():
        if getattr(chosen, key) not in values:
            raise RecipeError(
                f"{key} must be one of {', '.join(values)}, not {getattr(chosen, key)!r}",
                where=key,
                remedy=nearest(getattr(chosen, key), values),
            )
    if chosen.steps and chosen.search:
        raise RecipeError(
            "steps are tried, and kept where they help, unless nothing is searched for",
            where="steps",
            remedy="Write search = false, too, or name steps not to try as skip_steps",
        )
    for key in ("left_float", "integer_for_speed", "float_for_speed"):
        if getattr(chosen, key) and chosen.search:
            raise RecipeError(
                "such layers are searched for, unless nothing is",
                where=key,
                remedy="Write search = false, too, or name the layers under exclude or include",
            )
    taken = tuple(step for step in chosen.steps if step not in chosen.skip_steps)
    return chosen.with_changes(steps=taken)


def _is_standard(scheme: str, blocks: BlockScheme | None) -> bool:
    return scheme in FLOAT_SCHEMES or (blocks is not None and blocks.format == STANDARD)


def require_operators(target: TargetProfile, scheme: str, blocks: BlockScheme | None) -> None:
    """Refuse to write operators of onnxruntime for a program that has none of them."""
    if not (_is_standard(scheme, blocks) or target.contrib_operators):
        raise RecipeError(
            f"target {target.name} has no operators of onnxruntime's own, which {scheme} consists "
            "of",
            where="--target",
            remedy="Take --format qdq with w8 or w4, or a target that runs onnxruntime's CPU "
            "provider",
        )


def _require_nothing_to_search(
    scheme: str,
    calibrator: str | None,
    skip_steps: Sequence[str],
    max_trials: int | None,
    time_limit: float | None,
) -> None:
    given = {
        "calibrator": calibrator is not None,
        "skip_steps": bool(skip_steps),
        "max_trials": max_trials is not None,
        "time_limit": time_limit is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise RecipeError(
                f"scheme {scheme} finds no ranges and tries nothing out",
                where=name,
                remedy="Leave it out; --max-drop alone holds the result against a budget",
            )


def _require_limits(max_trials: int | None, time_limit: float | None) -> None:
    if max_trials is not None and max_trials < 1:
        raise RecipeError(
            f"{max_trials} is no number of trials", where="max_trials", remedy="Give 1 or more"
        )
    # NaN is not at least anything.
    if time_limit is not None and not time_limit >= 0.0:
        raise RecipeError(
            f"{time_limit} is no time", where="time_limit", remedy="Give seconds, 0 or more"
        )


def _require_known(where: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise RecipeError(f"unknown step {name!r}", where=where, remedy=nearest(name, known))
