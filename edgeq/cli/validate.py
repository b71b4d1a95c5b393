"""``edgeq validate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.output import check_report, write_reports
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError, ValidationFailed

if TYPE_CHECKING:
    from edgeq.validation.verdict import Thresholds


@click.command(short_help="Judge a model against another.")
@click.argument("reference", type=options.PATH)
@click.argument("candidate", type=options.PATH)
@click.option("--data", required=True, metavar="DATA", help="Samples, labelled for --metric.")
@click.option("--min-sqnr", type=float, metavar="DB", help="Of every float output.")
@click.option("--min-cosine", type=click.FloatRange(-1, 1), metavar="X", help="Of every output.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Fraction of samples with the same best class.",
)
@options.max_drop_option
@options.metric_option
@click.option(
    "--min-speedup",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Time of REFERENCE / time of CANDIDATE.",
)
@options.tokenizer_option
@options.window_option
@options.max_samples_option
@options.threads_option
@click.option(
    "--device",
    metavar="DEVICE",
    help="CANDIDATE has to answer there what it answers here; see edgeq device list.",
)
@click.option(
    "--explain-difference",
    is_flag=True,
    help="With --device: find the first node whose output differs there.",
)
@click.option(
    "--verbose",
    "-v",
    is_flag=True,
    help="Compare layer by layer: where both models part and why. List every node left in float.",
)
@click.option(
    "--report",
    "reports",
    type=options.PATH,
    multiple=True,
    metavar="FILE.json|FILE.html",
    help="Write the report, also of a failed candidate: for programs or for people. Repeatable.",
)
@options.quiet_option
@options.json_option("the report")
@options.debug_option
def validate(
    *,
    reference: Path,
    candidate: Path,
    data: str,
    tokenizer: Path | None,
    window: int | None,
    max_samples: int | None,
    threads: int,
    metric: str | None,
    reports: tuple[Path, ...],
    quiet: bool,
    verbose: bool,
    device: str | None,
    explain_difference: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Run REFERENCE and CANDIDATE on the same samples and judge the difference.

    Without a --min or --max option the outputs have to reach 10 dB SQNR and a cosine of 0.95;
    with any of them, exactly what is asked for is judged.
    """
    thresholds = _thresholds(asked, metric)
    for file in reports:
        check_report(file, [reference, candidate, Path(data)])
    with progress_bar(silent=quiet or as_json) as progress:
        from edgeq import api

        result = api.validate(
            reference,
            candidate,
            data,
            thresholds=thresholds,
            metric=metric,
            tokenizer=tokenizer,
            window=window,
            max_samples=max_samples,
            threads=threads,
            explain=verbose,
            device=device,
            explain_difference=explain_difference,
            progress=progress,
        )
    write_reports(reports, result)
    if as_json:
        show_json(result.to_dict())
    elif not quiet:
        from edgeq.report.terminal import render

        show(render(result.report, everything=verbose))
        if result.device is not None:
            from edgeq.report.devices import render as render_device

            show(render_device(result.device.to_dict()))
    if not result.passed:
        raise ValidationFailed("; ".join(result.report.verdict.failures), where="validation failed")


def _thresholds(asked: dict[str, Any], metric: str | None) -> Thresholds | None:
    """What the options ask for; None where they ask for nothing."""
    from edgeq.validation.verdict import Thresholds, parse_drop

    drop: str | None = asked["max_drop"]
    if drop is not None and metric is None:
        raise RecipeError(
            "there is no metric that could drop",
            where="--max-drop",
            remedy="Add --metric, such as top1 or FILE.py:function",
        )
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        # Nothing is ever below NaN: such a threshold would pass everything.
        if isinstance(value, float) and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise RecipeError(f"{value} is no threshold", where=option, remedy="Give a number")
    if drop is not None:
        given["max_drop"], given["relative_drop"] = parse_drop(drop)
    return Thresholds(**given) if given else None
