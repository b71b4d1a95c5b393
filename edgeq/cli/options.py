"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable

DEBUG = "edgeq.debug"
"""Key of the click context's ``meta`` that says whether tracebacks are shown."""

PATH = click.Path(path_type=Path)
"""A path that is checked where it is used, so that all messages are of one kind."""

AT_LEAST_ONE = click.IntRange(min=1)
NOT_NEGATIVE = click.IntRange(min=0)


def _keep_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_keep_debug,
    help="Show tracebacks.",
)


def json_option(what: str) -> Callable[[Any], Any]:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON, only that.")


def calib_option(*, required: bool = False) -> Callable[[Any], Any]:
    """``--calib``."""
    return click.option(
        "--calib",
        metavar="DATA",
        required=required,
        help="Calibration samples: a folder (pictures, .npy, .npz, .wav, ONNX test data), one "
        ".npz, module:callable or FILE.py:callable.",
    )


def allow_partial_option(text: str) -> Callable[[Any], Any]:
    """``--allow-partial``."""
    return click.option("--allow-partial", is_flag=True, help=text)


target_option = click.option(
    "--target",
    default="cpu",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="What the model shall run on: one of edgeq list targets, or a profile of yours.",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Node names or operators that stay float; * and ? match anything. Repeatable.",
)
fix_shape_option = click.option(
    "--fix-shape",
    multiple=True,
    metavar="NAME=DIMS",
    help="Fix an input, as in x=1,3,224,224, or a symbolic dimension, as in batch=1. Repeatable.",
)
calibrator_option = click.option(
    "--calibrator",
    metavar="NAME[:key=value,...]",
    help="How ranges are found; default: auto. See edgeq list calibrators.",
)
recipe_option = click.option("--recipe", type=PATH, metavar="FILE.toml", help="Choices in a file.")
skip_step_option = click.option(
    "--skip-step",
    multiple=True,
    metavar="NAME",
    help="A recovery step not to try; see edgeq list steps. Repeatable.",
)
seed_option = click.option(
    "--seed", type=NOT_NEGATIVE, metavar="N", help="Of the samples kept; default: 0."
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
threads_option = click.option(
    "--threads",
    type=NOT_NEGATIVE,
    default=0,
    metavar="N",
    help="Threads inside an operator; 0 (default): all cores.",
)
max_samples_option = click.option(
    "--max-samples", type=AT_LEAST_ONE, metavar="N", help="Read so many samples at most."
)
tokenizer_option = click.option(
    "--tokenizer",
    type=PATH,
    metavar="FILE",
    help="For data that is a .txt file; default: tokenizer.json beside the model.",
)
window_option = click.option(
    "--window",
    type=AT_LEAST_ONE,
    metavar="N",
    help="Tokens of a window that a text is cut into; default: what the model takes, or 256.",
)
metric_option = click.option(
    "--metric",
    metavar="METRIC",
    help="agreement, cosine or signal (against fp32, no labels needed), top1, top5, "
    "module:function or FILE.py:function, with #KEY to pick a number; a leading - means lower is "
    "better.",
)
max_drop_option = click.option(
    "--max-drop",
    metavar="X",
    help="Allowed loss of the metric: 0.5% of the fp32 score, or a number in its own unit.",
)
costs_option = click.option(
    "--costs",
    type=PATH,
    multiple=True,
    metavar="FILE.json",
    help="Place layers by these times in place of measuring: what tune --save-costs or "
    "run --profile wrote. Repeatable.",
)


def parse_shapes(given: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """``NAME=1,3,224,224`` as a name and its sizes."""
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        # Names of inputs may hold an equals sign themselves.
        name, _, dims = text.rpartition("=")
        try:
            sizes = tuple(int(size) for size in dims.replace("x", ",").split(","))
        except ValueError:
            sizes = ()
        if not name or not sizes:
            raise RecipeError(
                f"{text!r} is not NAME=DIMS",
                where="--fix-shape",
                remedy="Write it as in --fix-shape x=1,3,224,224 or --fix-shape batch=1",
            )
        if found.setdefault(name, sizes) != sizes:
            raise RecipeError(f"{name!r} is given twice", where="--fix-shape", remedy="Keep one")
    return found
