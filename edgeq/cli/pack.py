"""``edgeq pack``."""

from __future__ import annotations

from pathlib import Path

import click

from edgeq.cli import options
from edgeq.cli.output import check_output
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json


@click.command(short_help="Make a test of a model that runs on devices.")
@click.argument("model", type=options.PATH)
@click.option("--data", required=True, metavar="DATA", help="Samples, as for calibration.")
@click.option(
    "--output",
    "-o",
    type=options.PATH,
    metavar="FILE",
    help="Where to write it; default: MODEL's name with .edgeq.zip, beside it.",
)
@click.option(
    "--reference",
    type=options.PATH,
    metavar="FP32",
    help="The float original: devices then time and compare both.",
)
@click.option(
    "--samples",
    type=options.AT_LEAST_ONE,
    default=8,
    show_default=True,
    metavar="N",
    help="The first N of DATA.",
)
@options.quiet_option
@options.json_option("what was packed")
@options.debug_option
def pack(
    *,
    model: Path,
    data: str,
    output: Path | None,
    reference: Path | None,
    samples: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a self-contained test of MODEL for edgeq run, or for Python on any device.

    It holds the model, samples, what MODEL answers to them here, and how far a device may be off
    by the operators on the way to each output. Equal inputs give equal bytes.
    """
    target = output or model.with_name(f"{model.stem}.edgeq.zip")
    check_output(target, "-o", [each for each in (model, reference, Path(data)) if each])
    with progress_bar(silent=quiet or as_json) as progress:
        from edgeq import api

        packed = api.pack(
            model, data, target, reference=reference, samples=samples, progress=progress
        )
    document = {
        "path": str(packed.path),
        "bytes": packed.size_bytes,
        "samples": packed.samples,
        "outputs": [port.to_dict() for port in packed.outputs],
        "entries": dict(sorted(packed.entries.items())),
    }
    if as_json:
        show_json(document)
    elif not quiet:
        from edgeq.report.devices import render_pack

        show(render_pack(document))
