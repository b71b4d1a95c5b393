"""``edgeq tune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.output import check_output, check_report, write_reports, write_text
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError, ValidationFailed
from edgeq.recipe import recipe_text
from edgeq.report.text import file_size, printable

if TYPE_CHECKING:
    from edgeq.api import TuningResult
    from edgeq.graph.saver import SavedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The command line, parsed."""

    model: Path
    calib: str
    evaluation: str
    metric: str | None
    max_drop: str | None
    max_latency: str | None
    max_size: str | None
    max_points: int
    output: Path | None
    target: str
    calibrator: str | None
    recipe: Path | None
    exclude: tuple[str, ...]
    skip_step: tuple[str, ...]
    costs: tuple[Path, ...]
    save_costs: Path | None
    max_samples: int | None
    threads: int
    seed: int | None
    save_recipe: Path | None
    report: tuple[Path, ...]
    quiet: bool
    as_json: bool

    @property
    def has_limit(self) -> bool:
        """Whether a model is to be picked."""
        return any(each is not None for each in (self.max_drop, self.max_latency, self.max_size))


@click.command(short_help="The frontier of accuracy, latency and size; pick a point of it.")
@click.argument("model", type=options.PATH)
@options.calib_option(required=True)
@click.option(
    "--eval",
    "evaluation",
    required=True,
    metavar="DATA",
    help="Samples for the metric, not those of --calib.",
)
@options.metric_option
@click.option(
    "--max-drop",
    metavar="X",
    help="Pick the fastest model that loses no more: 0.5% of the fp32 score, or in its own unit.",
)
@click.option(
    "--max-latency",
    metavar="MS|RATIO",
    help="Pick the most accurate model that takes no longer: 12.5 (ms), or 60% or 0.6x of fp32.",
)
@click.option(
    "--max-size",
    metavar="BYTES|RATIO",
    help="Pick the most accurate model that is no larger: 2MB, or 30% or 0.3x of fp32.",
)
@click.option(
    "--max-points",
    type=click.IntRange(min=2),
    default=12,
    show_default=True,
    metavar="N",
    help="Models to make at most, fp32 counted.",
)
@click.option(
    "-o", "--output", type=options.PATH, metavar="OUT", help="Where to write the picked model."
)
@options.target_option
@options.calibrator_option
@options.recipe_option
@options.exclude_option
@options.skip_step_option
@options.costs_option
@click.option(
    "--save-costs",
    type=options.PATH,
    metavar="FILE.json",
    help="Write what each node takes in float and in integers, for --costs.",
)
@options.max_samples_option
@options.threads_option
@options.seed_option
@click.option(
    "--save-recipe",
    type=options.PATH,
    metavar="FILE.toml",
    help="Write the recipe that makes the picked model again.",
)
@click.option(
    "--report",
    type=options.PATH,
    multiple=True,
    metavar="FILE.json|FILE.html",
    help="Write the report, for programs or for people. Repeatable.",
)
@options.quiet_option
@options.json_option("the report")
@options.debug_option
def tune(**given: Any) -> None:
    """Make many models of MODEL, and tell which none beats in accuracy, latency and size."""
    request = _Request(**given)
    _check(request)
    result = _tune(request)
    saved = _save(request, result)
    write_reports(request.report, result)
    if request.save_costs is not None:
        write_text(request.save_costs, result.costs_json())
    if request.as_json:
        show_json(result.report.to_dict())
    elif not request.quiet:
        _show(result, saved)
    limit = result.report.limit
    if limit is not None and not limit.met:
        raise ValidationFailed(
            limit.reason,
            where="no model was picked",
            remedy="No model was written. Raise the limit, or give more --max-points",
        )


def _check(request: _Request) -> None:
    """Refuse what can be refused before any work is done."""
    for option, given in (("-o", request.output), ("--save-recipe", request.save_recipe)):
        if given is not None and not request.has_limit:
            raise RecipeError(
                "without a limit no model is picked that could be written",
                where=option,
                remedy="Give --max-drop, --max-latency or --max-size, too",
            )
    named = (request.model, request.recipe, request.calib, request.evaluation)
    files = [Path(each) for each in (*named, *request.costs) if each is not None]
    if request.output is not None:
        check_output(request.output, "-o", files)
        files.append(request.output)
    for file in request.report:
        check_report(file, files)
    if request.save_costs is not None:
        check_output(request.save_costs, "--save-costs", [*files, *request.report])
        files.append(request.save_costs)
    if request.save_recipe is not None:
        check_output(request.save_recipe, "--save-recipe", [*files, *request.report])


def _tune(request: _Request) -> TuningResult:
    with progress_bar(silent=request.quiet or request.as_json) as progress:
        from edgeq import api

        return api.tune(
            request.model,
            request.calib,
            request.evaluation,
            metric=request.metric,
            max_drop=request.max_drop,
            max_latency=request.max_latency,
            max_size=request.max_size,
            max_points=request.max_points,
            target=request.target,
            calibrator=request.calibrator,
            recipe=request.recipe,
            exclude=request.exclude,
            max_samples=request.max_samples,
            threads=request.threads,
            seed=request.seed,
            skip_steps=request.skip_step,
            costs=request.costs,
            keep_costs=request.save_costs is not None,
            progress=progress,
        )


def _save(request: _Request, result: TuningResult) -> SavedModel | None:
    """Write the picked model and its recipe, where they are asked for and there is one."""
    chosen = result.chosen
    if chosen is None:
        return None
    saved = None if request.output is None else result.save(request.output)
    if request.save_recipe is not None:
        scheme = "" if chosen.scheme == "int8" else f" --scheme {chosen.scheme}"
        heading = (
            f"edgeq tune {printable(request.model.name)}: {chosen.name}",
            f"For edgeq quantize{scheme} --recipe",
        )
        write_text(request.save_recipe, recipe_text(result.recipe(), heading))
    return saved


def _show(result: TuningResult, saved: SavedModel | None) -> None:
    from edgeq.report.frontier_terminal import render

    show(render(result.report))
    if saved is not None:
        files = " and ".join(printable(str(file)) for file in saved.files)
        click.echo(f"\nWrote {files} ({file_size(saved.size_bytes)})")
