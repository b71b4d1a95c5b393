"""``edgeq optimize``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.output import check_output, check_report, write_reports
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.report.text import file_size, printable

if TYPE_CHECKING:
    from edgeq.api import OptimizationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The command line, parsed."""

    model: Path
    output: Path | None
    target: str | None
    calib: str | None
    fix_shape: tuple[str, ...]
    passes: str | None
    skip_pass: tuple[str, ...]
    threads: int
    report: tuple[Path, ...]
    no_validate: bool
    verbose: bool
    quiet: bool
    as_json: bool

    @property
    def target_file(self) -> Path:
        """Where the result goes."""
        return self.output or self.model.with_name(f"{self.model.stem}.opt.onnx")


@click.command(short_help="Fold and clean a model; its results stay.")
@click.argument("model", type=options.PATH)
@click.option("-o", "--output", type=options.PATH, metavar="OUT", help="Default: MODEL.opt.onnx.")
@click.option(
    "--target",
    metavar="NAME",
    help="Use operators that this target's runtime adds, too; default: standard ones only.",
)
@click.option(
    "--calib",
    metavar="DATA",
    help="Samples to compare both models on, beside random inputs; a few are read.",
)
@options.fix_shape_option
@click.option("--passes", metavar="NAME,NAME...", help="Run these only; see edgeq list passes.")
@click.option("--skip-pass", multiple=True, metavar="NAME", help="Leave out a pass. Repeatable.")
@options.threads_option
@click.option(
    "--report",
    type=options.PATH,
    multiple=True,
    metavar="FILE.json|FILE.html",
    help="Write the report, for programs or for people. Repeatable.",
)
@click.option("--no-validate", is_flag=True, help="Measure neither arithmetic nor latency.")
@click.option("--verbose", "-v", is_flag=True, help="List every pass and all that was left alone.")
@options.quiet_option
@options.json_option("the report")
@options.debug_option
def optimize(**given: Any) -> None:
    """Fold, cancel and remove what MODEL need not compute, and prove that its results stay."""
    request = _Request(**given)
    _check(request)
    result = _optimize(request)
    saved = result.save(request.target_file)
    write_reports(request.report, result)
    if request.as_json:
        show_json(result.report.to_dict())
    elif not request.quiet:
        from edgeq.report.optimization_terminal import render

        show(render(result.report, everything=request.verbose))
        files = " and ".join(printable(str(file)) for file in saved.files)
        click.echo(f"\nWrote {files} ({file_size(saved.size_bytes)})")


def _check(request: _Request) -> None:
    """Refuse what can be refused before any work is done."""
    reads = [request.model, *([Path(request.calib)] if request.calib is not None else [])]
    # Where the model's own folder is missing, loading tells it better.
    if request.output is not None or request.model.parent.is_dir():
        check_output(request.target_file, "-o", reads)
    for file in request.report:
        check_report(file, [*reads, request.target_file])


def _optimize(request: _Request) -> OptimizationResult:
    fixed = options.parse_shapes(request.fix_shape)
    with progress_bar(silent=request.quiet or request.as_json) as progress:
        from edgeq import api

        return api.optimize(
            request.model,
            request.calib,
            target=request.target,
            fix_shapes=fixed,
            passes=None if request.passes is None else _listed(request.passes),
            skip_passes=request.skip_pass,
            threads=request.threads,
            validate=not request.no_validate,
            progress=progress,
        )


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
