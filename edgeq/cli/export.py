"""``edgeq export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeq.cli import options
from edgeq.cli.output import check_output
from edgeq.cli.show import show, show_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Write a model for runtimes on phones.")
@click.argument("model", type=options.PATH)
@click.option("--format", "format_", default="ort", show_default=True, metavar="ort")
@click.option(
    "--output",
    "-o",
    type=options.PATH,
    metavar="FILE.ort",
    help="Where to write it; default: beside MODEL.",
)
@options.fix_shape_option
@click.option("--data", metavar="DATA", help="Samples on which the file has to answer like MODEL.")
@options.quiet_option
@options.json_option("what was written")
@options.debug_option
def export(
    *,
    model: Path,
    format_: str,
    output: Path | None,
    fix_shape: tuple[str, ...],
    data: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write MODEL as .ort, the format of onnxruntime on phones, and what a reduced build needs.

    Tells sizes, and what NNAPI and CoreML would take of the model by its operators.
    """
    target = output or model.with_suffix(".ort")
    check_output(target, "-o", [model])
    from edgeq import api

    fixed = options.parse_shapes(fix_shape)
    made = api.export(model, target, format=format_, fix_shapes=fixed, data=data)
    if as_json:
        show_json(made.to_dict())
    elif not quiet:
        from edgeq.report.devices import render_export

        show(render_export(made.to_dict()))
