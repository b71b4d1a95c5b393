"""``edgeq evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeq.cli import options
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show_json
from edgeq.report.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.api import Evaluated


@click.command(short_help="Score a model on labelled data.")
@click.argument("model", type=options.PATH)
@click.option("--data", required=True, metavar="DATA", help="Samples, labelled for the metric.")
@click.option(
    "--metric",
    required=True,
    metavar="METRIC",
    help="top1, top5, perplexity, module:function or FILE.py:function, with #KEY to pick a number.",
)
@options.tokenizer_option
@options.window_option
@options.max_samples_option
@options.threads_option
@options.quiet_option
@options.json_option("the score")
@options.debug_option
def evaluate(
    *,
    model: Path,
    data: str,
    metric: str,
    tokenizer: Path | None,
    window: int | None,
    max_samples: int | None,
    threads: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run MODEL over labelled data and tell its score, and how sure that is."""
    with progress_bar(silent=quiet or as_json) as progress:
        from edgeq import api

        found = api.evaluate(
            model,
            data,
            metric,
            tokenizer=tokenizer,
            window=window,
            max_samples=max_samples,
            threads=threads,
            progress=progress,
        )
    if as_json:
        show_json(found.to_dict())
    elif not quiet:
        click.echo(_told(found))


def _told(found: Evaluated) -> str:
    better = "higher" if found.higher_is_better else "lower"
    score = f"{printable(found.metric)}: {found.value:.4f} ({better} is better)"
    if found.interval is not None:
        score += (
            f"; {found.interval.low:.4f} to {found.interval.high:.4f} in 95 of 100 data sets drawn "
            "from these samples"
        )
    return f"{score}\n{counted(found.samples, 'sample')}, {found.seconds:.1f} s"
