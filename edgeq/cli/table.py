"""``edgeq table``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from edgeq.cli import options
from edgeq.cli.output import check_output
from edgeq.cli.show import show, show_json
from edgeq.report.text import file_size, printable

if TYPE_CHECKING:
    from pathlib import Path

_TABLES = click.argument("tables", type=options.PATH, metavar="TABLE...", nargs=-1, required=True)


@click.group(short_help="Merge and show calibration tables.", no_args_is_help=False)
def table() -> None:
    """Merge and show the tables that edgeq calibrate writes."""


@table.command(short_help="Make one table of all shards.")
@_TABLES
@click.option(
    "-o", "--output", type=options.PATH, metavar="TABLE", required=True, help="The file to write."
)
@options.allow_partial_option("Shards may be missing or unfinished; the table says so.")
@options.quiet_option
@options.json_option("what is in it")
@options.debug_option
def merge(
    tables: tuple[Path, ...], output: Path, *, allow_partial: bool, quiet: bool, as_json: bool
) -> None:
    """Make one table of all shards: the one that a single run would have written."""
    check_output(output, "-o", tables)
    from edgeq import api

    merged = api.merge_tables(*tables, allow_partial=allow_partial)
    merged.save(output)
    if as_json:
        from edgeq.report.calibration import facts

        show_json({"table": str(output), **facts(merged)})
    elif not quiet:
        from edgeq.report.calibration_terminal import summary

        show(summary(merged))
        click.echo(f"\nWrote {printable(str(output))} ({file_size(output.stat().st_size)})")


@table.command(name="show", short_help="Show what is in a table.")
@click.argument("file", type=options.PATH, metavar="TABLE")
@click.option(
    "--value",
    "pattern",
    metavar="PATTERN",
    help="Only values of this name (* and ? match anything), with histogram and ranges.",
)
@click.option(
    "--channels", is_flag=True, help="Dead channels, and how much ranges of channels differ."
)
@options.json_option("all of it")
@options.debug_option
def show_(file: Path, *, pattern: str | None, channels: bool, as_json: bool) -> None:
    """Show what was observed of each value, and which ones will suffer in int8."""
    from edgeq import api

    loaded = api.load_table(file)
    if as_json:
        from edgeq.report.calibration import document

        show_json({"table": str(file), **document(loaded, pattern)})
        return
    from edgeq.report.calibration_terminal import BLOCKS, PLAIN_BLOCKS, render

    blocks = BLOCKS if _shows(BLOCKS) else PLAIN_BLOCKS
    show(render(loaded, pattern, blocks, channels=channels))


def _shows(text: str) -> bool:
    """Whether stdout can print these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
