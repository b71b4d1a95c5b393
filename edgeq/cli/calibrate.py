"""``edgeq calibrate``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.interrupts import interruptible
from edgeq.cli.output import check_output
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError
from edgeq.report.text import file_size, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.api import CalibrationTable

INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The command line, parsed."""

    model: Path
    calib: str
    output: Path
    target: str
    recipe: Path | None
    exclude: tuple[str, ...]
    max_samples: int | None
    threads: int
    seed: int | None
    shard: str | None
    dask: str | None
    resume: bool
    quiet: bool
    as_json: bool


@click.command(short_help="Run a model over samples and save the statistics.")
@click.argument("model", type=options.PATH)
@options.calib_option(required=True)
@click.option(
    "-o", "--output", type=options.PATH, metavar="TABLE", required=True, help="The file to write."
)
@options.target_option
@options.recipe_option
@options.exclude_option
@options.max_samples_option
@options.threads_option
@options.seed_option
@click.option(
    "--shard",
    metavar="I/N",
    help="Only every N-th sample, beginning with number I, counted from 0; the tables of all N "
    "shards become one with edgeq table merge.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Let the workers of a Dask cluster do it; they read MODEL and DATA under the same paths.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from what an interrupted run left in TABLE, if there is any.",
)
@options.quiet_option
@options.json_option("what was found")
@options.debug_option
@click.pass_context
def calibrate(ctx: click.Context, /, **given: Any) -> None:
    """Run MODEL over samples and save what every calibrator needs to know in TABLE.

    An interrupted run (Ctrl-C, SIGTERM) leaves in TABLE what it has seen; so does a running one,
    about once a minute.
    """
    request = _Request(**given)
    reads = [request.model, *([request.recipe] if request.recipe else []), Path(request.calib)]
    check_output(request.output, "-o", reads)
    saved: list[CalibrationTable] = []

    def save(table: CalibrationTable) -> None:
        table.save(request.output)
        saved[:] = [table]

    try:
        with interruptible() as stop:
            table = _calibrate(request, stop, save)
            if table.collection.samples:
                save(table)
    except KeyboardInterrupt:
        _tell_interruption(request, saved)
        ctx.exit(INTERRUPTED)
    if not table.complete:
        _tell_interruption(request, saved)
        ctx.exit(INTERRUPTED)
    if request.as_json:
        from edgeq.report.calibration import facts

        show_json({"table": str(request.output), **facts(table)})
    elif not request.quiet:
        from edgeq.report.calibration_terminal import summary

        show(summary(table))
        size = file_size(request.output.stat().st_size)
        click.echo(f"\nWrote {printable(str(request.output))} ({size})")


def _calibrate(
    request: _Request, stop: Callable[[], bool], checkpoint: Callable[[CalibrationTable], None]
) -> CalibrationTable:
    shard = None if request.shard is None else _parsed_shard(request.shard)
    with progress_bar(silent=request.quiet or request.as_json) as progress:
        from edgeq import api

        return api.calibrate(
            request.model,
            request.calib,
            target=request.target,
            recipe=request.recipe,
            exclude=request.exclude,
            max_samples=request.max_samples,
            threads=request.threads,
            seed=request.seed,
            shard=shard,
            dask=request.dask,
            resume=request.output if request.resume and request.output.exists() else None,
            checkpoint=checkpoint,
            stop=stop,
            progress=progress,
        )


def _parsed_shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise RecipeError(
            f"{text!r} is no shard",
            where="--shard",
            remedy="Write I/N with I from 0 to N - 1, as in --shard 0/4",
        )
    return int(found[1]), int(found[2])


def _tell_interruption(request: _Request, saved: Sequence[CalibrationTable]) -> None:
    if not saved:
        click.echo("error: interrupted, nothing was written", err=True)
        return
    where, seen = printable(str(request.output)), saved[-1].unread()
    click.echo(f"error: {where}: {seen}; they are saved", err=True)
    click.echo("  Give the same command with --resume to go on", err=True)
