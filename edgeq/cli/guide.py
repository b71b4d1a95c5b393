"""``edgeq guide``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeq.cli import options
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import ValidationFailed

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Find out what to make of a model, and with which command.")
@click.argument("model", type=options.PATH)
@click.option(
    "--eval",
    "evaluation",
    required=True,
    metavar="DATA",
    help="Samples for the metric, not those of --calib.",
)
@options.calib_option()
@options.metric_option
@click.option(
    "--max-drop",
    default="2%",
    show_default=True,
    metavar="X",
    help="Allowed loss of the metric: 2% of the fp32 score, or a number in its own unit.",
)
@click.option(
    "--context",
    type=options.AT_LEAST_ONE,
    default=512,
    show_default=True,
    metavar="N",
    help="Language models: tokens behind which writing is timed and the cache weighed.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0.0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Begin nothing that would not be through by then, by the time of the steps before.",
)
@options.tokenizer_option
@options.window_option
@options.max_samples_option
@options.threads_option
@options.quiet_option
@options.json_option("what was found")
@options.debug_option
def guide(
    *,
    model: Path,
    evaluation: str,
    calib: str | None,
    metric: str | None,
    max_drop: str,
    context: int,
    time_limit: float,
    tokenizer: Path | None,
    window: int | None,
    max_samples: int | None,
    threads: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make models of MODEL one after the other, each by what the last one showed.

    Ends with the command line of the one that is recommended. Nothing is written.
    """
    with progress_bar(silent=quiet or as_json) as progress:
        from edgeq import api

        found = api.guide(
            model,
            evaluation,
            calibration_data=calib,
            metric=metric,
            max_drop=max_drop,
            context=context,
            time_limit=time_limit,
            tokenizer=tokenizer,
            window=window,
            max_samples=max_samples,
            threads=threads,
            progress=progress,
        )
    document = found.to_dict()
    if as_json:
        show_json(document)
    elif not quiet:
        from edgeq.report.guide_terminal import render

        show(render(document))
    if found.choice is None:
        raise ValidationFailed(
            f"no model keeps to a drop of {max_drop} and beats the original",
            where="nothing is recommended",
            remedy="Allow more with --max-drop, or give --calib DATA, so that layers can learn",
        )
