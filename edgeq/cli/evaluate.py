"""``edgeq evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeq.cli import options
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError
from edgeq.report.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.api import Decoded, Evaluated


@click.command(short_help="Score a model on labelled data, or time a language model.")
@click.argument("model", type=options.PATH)
@click.option("--data", metavar="DATA", help="Samples, labelled for the metric.")
@click.option(
    "--metric",
    metavar="METRIC",
    help="top1, top5, perplexity, module:function or FILE.py:function, with #KEY to pick a number.",
)
@click.option(
    "--decode",
    "written",
    type=options.AT_LEAST_ONE,
    metavar="N",
    help="In place of a score: how fast a language model reads prompts and writes N tokens.",
)
@click.option(
    "--contexts",
    default="64,256,1024",
    show_default=True,
    metavar="N,N,...",
    help="--decode: lengths of the prompts.",
)
@click.option(
    "--against",
    type=options.PATH,
    metavar="MODEL",
    help="--decode: a model to take turns with, such as the fp32 original.",
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
    data: str | None,
    metric: str | None,
    written: int | None,
    contexts: str,
    against: Path | None,
    tokenizer: Path | None,
    window: int | None,
    max_samples: int | None,
    threads: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run MODEL over labelled data and tell its score, and how sure that is.

    With --decode it is a language model whose pace is told, by length of the context.
    """
    with progress_bar(silent=quiet or as_json) as progress:
        from edgeq import api

        found: Evaluated | Decoded
        if written is not None:
            _refuse(data=data, metric=metric, tokenizer=tokenizer, window=window)
            found = api.decode(
                model,
                written,
                reference=against,
                contexts=_lengths(contexts),
                threads=threads,
                progress=progress,
            )
        else:
            if data is None or metric is None:
                raise RecipeError(
                    "a score needs data and a metric",
                    where="--data and --metric",
                    remedy="Give both, or --decode N for the pace of a language model",
                )
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
        _show(found)


def _refuse(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise RecipeError(
                "--decode writes behind random tokens and scores nothing",
                where=f"--{name}",
                remedy="Leave one of the two out",
            )


def _lengths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise RecipeError(
            f"{text!r} are no lengths", where="--contexts", remedy="Write them as 64,256,1024"
        )
    return tuple(int(part) for part in parts)


def _show(found: Evaluated | Decoded) -> None:
    from edgeq.api import Evaluated
    from edgeq.report.decoding_terminal import render

    if isinstance(found, Evaluated):
        click.echo(_told(found))
    else:
        show(render(found.to_dict()))


def _told(found: Evaluated) -> str:
    better = "higher" if found.higher_is_better else "lower"
    score = f"{printable(found.metric)}: {found.value:.4f} ({better} is better)"
    if found.interval is not None:
        score += (
            f"; {found.interval.low:.4f} to {found.interval.high:.4f} in 95 of 100 data sets drawn "
            "from these samples"
        )
    return f"{score}\n{counted(found.samples, 'sample')}, {found.seconds:.1f} s"
