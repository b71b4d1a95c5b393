"""The program ``edgeq``: its commands, and how every failure is told.

Nothing heavy is imported here or by the modules of the commands, so that ``edgeq --help`` answers
at once; each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from edgeq.cli.calibrate import calibrate
from edgeq.cli.device import device
from edgeq.cli.evaluate import evaluate
from edgeq.cli.export import export
from edgeq.cli.guide import guide
from edgeq.cli.inspect import inspect
from edgeq.cli.interrupts import Heeded, what_is_left
from edgeq.cli.list import list_
from edgeq.cli.optimize import optimize
from edgeq.cli.options import DEBUG, debug_option
from edgeq.cli.pack import pack
from edgeq.cli.quantize import quantize
from edgeq.cli.run import run
from edgeq.cli.table import table
from edgeq.cli.tune import tune
from edgeq.cli.validate import validate
from edgeq.errors import EdgeqError, nearest
from edgeq.report.text import printable

USERS_MISTAKE = 2
OUR_MISTAKE = 3
INTERRUPTED = 130
READER_GONE = 141


class Program(click.Group):
    """A group whose failures are one or two lines on stderr and an exit code of the contract."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and end the process with its exit code."""
        try:
            with Heeded():
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.UsageError as error:
            _say(_usage(error), _see_help(error))
            code = USERS_MISTAKE
        except click.ClickException as error:
            _say(error.format_message())
            code = USERS_MISTAKE
        except click.Abort:
            code = INTERRUPTED
        sys.exit(code or 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises becomes an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _say(f"interrupted, {what_is_left(ctx)}")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout once more while it exits, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(READER_GONE)
        except Exception as error:
            if ctx.meta.get(DEBUG):
                traceback.print_exc()
            ctx.exit(_tell(error))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}. {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def _tell(error: Exception) -> int:
    """Say what happened on stderr; the exit code."""
    if isinstance(error, EdgeqError):
        _say(f"{error.where}: {error.what}" if error.where else error.what, error.remedy)
        return error.exit_code
    if isinstance(error, MemoryError):
        _say("out of memory", "Try fewer or smaller samples, or a machine with more memory")
        return USERS_MISTAKE
    _say(
        f"edgeq failed unexpectedly: {type(error).__name__}: {error}",
        "Run it again with --debug, and please report what that prints",
    )
    return OUR_MISTAKE


def _say(what: str, remedy: str | None = None) -> None:
    click.echo(f"error: {_one_line(what)}", err=True)
    if remedy:
        click.echo(f"  {_one_line(remedy)}", err=True)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _usage(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for each in error.ctx.command.params for name in each.opts if name[:1] == "-"]
        guess = nearest(error.option_name, known)
        # A command has too many options to list them all.
        return f"no option {error.option_name!r}. {guess if guess[:3] == 'Did' else ''}".strip()
    return error.format_message()


def _see_help(error: click.UsageError) -> str:
    # click's parser does not always say which command it was parsing for.
    path = error.ctx.command_path if error.ctx is not None else "edgeq"
    return f"See: {path} --help"


@click.group(
    cls=Program,
    commands=[
        quantize,
        tune,
        optimize,
        calibrate,
        table,
        validate,
        evaluate,
        pack,
        run,
        device,
        export,
        guide,
        inspect,
        list_,
    ],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 good, 1 a validation failed, 2 the input or an option is wrong, "
    "3 a defect of edgeq, 130 interrupted.",
)
@click.version_option(package_name="edgeq", message="edgeq %(version)s")
@debug_option
@click.pass_context
def edgeq(ctx: click.Context) -> None:
    """Make a trained ONNX model small and fast, and prove that it still works."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(USERS_MISTAKE)


def main() -> None:
    """Entry point of the console script."""
    edgeq(prog_name="edgeq")
