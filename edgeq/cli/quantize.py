"""``edgeq quantize``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.output import check_output, check_report, write_reports, write_text
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError, ValidationFailed, nearest
from edgeq.recipe import DATA_FREE_SCHEMES, SCHEMES, recipe_text
from edgeq.report.text import file_size, printable

if TYPE_CHECKING:
    from edgeq.api import QuantizationResult
    from edgeq.graph.saver import SavedModel

_REMEDY = (
    "Give more typical samples, keep the worst layers of the report in float with --exclude, or "
    "take the file as it is with --keep-best"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The command line, parsed."""

    model: Path
    calib: str | None
    calib_table: Path | None
    allow_partial: bool
    output: Path | None
    scheme: str
    block_size: int | None
    symmetric: bool
    method: str | None
    weight_format: str
    layer_bits: tuple[str, ...]
    target_bits: float | None
    kv_cache: str | None
    target: str
    calibrator: str | None
    recipe: Path | None
    exclude: tuple[str, ...]
    float_type: str | None
    max_samples: int | None
    threads: int
    seed: int | None
    evaluation: str | None
    metric: str | None
    max_drop: str | None
    max_trials: int | None
    time_limit: float | None
    skip_step: tuple[str, ...]
    save_recipe: Path | None
    keep_best: bool
    report: tuple[Path, ...]
    no_validate: bool
    no_latency_tuning: bool
    costs: tuple[Path, ...]
    tokenizer: Path | None
    window: int | None
    quiet: bool
    as_json: bool

    @property
    def target_file(self) -> Path:
        """Where the result goes."""
        return self.output or self.model.with_name(f"{self.model.stem}.{self.scheme}.onnx")


@click.command(short_help="Quantize a model: int8, or weights in 8, 4 or 2 bits.")
@click.argument("model", type=options.PATH)
@options.calib_option()
@click.option(
    "--calib-table",
    type=options.PATH,
    metavar="TABLE",
    help="In place of --calib: what edgeq calibrate wrote for this model and target.",
)
@options.allow_partial_option("The table may lack samples.")
@click.option(
    "-o", "--output", type=options.PATH, metavar="OUT", help="Default: MODEL.SCHEME.onnx."
)
@click.option(
    "--scheme",
    default="int8",
    show_default=True,
    metavar="SCHEME",
    help="int8 or, for NPUs, a16w8 (ranges from --calib), dynamic (ranges while running), w8, w4, "
    "w2: weights in blocks, or fp16, bf16, fp8 (with --calib): narrower floats.",
)
@click.option(
    "--block-size",
    type=options.AT_LEAST_ONE,
    metavar="N",
    help="w8, w4, w2: weights that share a scale; a power of two from 16.",
)
@click.option("--symmetric", is_flag=True, help="w8, w4, w2: no zero points; smaller and coarser.")
@click.option(
    "--method",
    metavar="NAME",
    help="w8, w4, w2: rtn, hqq, k-quant, gptq, awq or auto; default: gptq for w4, w2 with "
    "--calib, else k-quant.",
)
@click.option(
    "--format",
    "weight_format",
    default="operator",
    show_default=True,
    metavar="NAME",
    help="w8, w4: operator (onnxruntime's MatMulNBits) or qdq (DequantizeLinear, opset 21).",
)
@click.option(
    "--layer-bits",
    multiple=True,
    metavar="PATTERN=BITS",
    help="w8, w4, w2: other bits for nodes of these names. Repeatable.",
)
@click.option(
    "--target-bits",
    type=float,
    metavar="BITS",
    help="w8, w4, w2: bits a weight on average, scales included; wider where it helps most.",
)
@click.option(
    "--kv-cache",
    metavar="FORM",
    help="Language models with a cache, not with int8: float32 (attention fused), int8 or int4.",
)
@options.target_option
@options.calibrator_option
@options.recipe_option
@options.exclude_option
@click.option(
    "--float-type",
    metavar="TYPE",
    help="fp16: what stays float beside integers is computed in float16 where the target does "
    "that, else stored in it; default: fp32.",
)
@options.max_samples_option
@options.threads_option
@options.seed_option
@click.option(
    "--eval", "evaluation", metavar="DATA", help="Samples for the metric, not those of --calib."
)
@options.metric_option
@options.tokenizer_option
@options.window_option
@options.max_drop_option
@click.option(
    "--max-trials",
    type=options.AT_LEAST_ONE,
    metavar="N",
    help="Runs over --eval in search of the budget, at most; default: 16.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds after which no further one begins.",
)
@options.skip_step_option
@click.option(
    "--save-recipe",
    type=options.PATH,
    metavar="FILE.toml",
    help="Write the recipe that makes the same model without searching.",
)
@click.option("--keep-best", is_flag=True, help="Write the model even if it failed.")
@click.option(
    "--report",
    type=options.PATH,
    multiple=True,
    metavar="FILE.json|FILE.html",
    help="Write the report, also of a failed run: for programs or for people. Repeatable.",
)
@click.option(
    "--no-latency-tuning",
    is_flag=True,
    help="Do not let times measured here decide what runs in integers.",
)
@options.costs_option
@click.option("--no-validate", is_flag=True, help="Do not judge coverage, closeness and speed.")
@options.quiet_option
@options.json_option("the report")
@options.debug_option
def quantize(**given: Any) -> None:
    """Quantize MODEL, run it, and tell how close and how fast it is."""
    request = _Request(**given)
    _check(request)
    result = _quantize(request)
    saved = _save(request, result)
    write_reports(request.report, result)
    if request.save_recipe is not None:
        heading = (f"edgeq quantize {printable(request.model.name)}: what the search came to",)
        write_text(request.save_recipe, recipe_text(result.recipe, heading))
    if request.as_json:
        show_json(result.report.to_dict())
    elif not request.quiet:
        _show(result, saved)
    if not result.passed:
        raise ValidationFailed(
            "; ".join(result.report.verdict.failures),
            where="validation failed",
            remedy=f"Nothing was written. {_REMEDY}"
            if saved is None
            else "It was written (--keep-best)",
        )


def _check(request: _Request) -> None:
    """Refuse what can be refused before any work is done."""
    _check_scheme(request.scheme)
    needs_data = request.scheme not in DATA_FREE_SCHEMES
    if needs_data and request.calib is None and request.calib_table is None:
        raise RecipeError(
            f"scheme {request.scheme} needs samples to find ranges",
            where="--calib",
            remedy="Give --calib DATA: a folder or .npz of typical inputs, 64 to 256 of them",
        )
    if request.calib is not None and request.calib_table is not None:
        raise RecipeError(
            "samples and a table of samples were given",
            where="--calib and --calib-table",
            remedy="Give one of the two",
        )
    if request.calib_table is not None and request.seed is not None:
        raise RecipeError(
            "the samples of a table were chosen when it was made",
            where="--seed",
            remedy="Leave it out, or make another table with edgeq calibrate --seed",
        )
    named = (
        request.model, request.recipe, request.calib, request.calib_table, request.evaluation,
        request.tokenizer, *request.costs,
    )  # fmt: skip
    reads = [Path(each) for each in named if each is not None]
    # Where the model's own folder is missing, loading tells it better.
    if request.output is not None or request.model.parent.is_dir():
        check_output(request.target_file, "-o", reads)
    for file in request.report:
        check_report(file, [*reads, request.target_file])
    if request.save_recipe is not None:
        written = [request.target_file, *request.report]
        check_output(request.save_recipe, "--save-recipe", [*reads, *written])


def _check_scheme(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise RecipeError(
            f"unknown scheme {scheme!r}",
            where="--scheme",
            remedy=nearest(scheme, SCHEMES),
        )


def _quantize(request: _Request) -> QuantizationResult:
    with progress_bar(silent=request.quiet or request.as_json) as progress:
        from edgeq import api

        return api.quantize(
            request.model,
            request.calib,
            calibration_table=request.calib_table,
            allow_partial=request.allow_partial,
            scheme=request.scheme,
            block_size=request.block_size,
            symmetric=request.symmetric,
            method=request.method,
            weight_format=request.weight_format,
            layer_bits=_layer_bits(request.layer_bits),
            target_bits=request.target_bits,
            kv_cache=request.kv_cache,
            target=request.target,
            calibrator=request.calibrator,
            recipe=request.recipe,
            exclude=request.exclude,
            float_type=request.float_type,
            max_samples=request.max_samples,
            threads=request.threads,
            seed=request.seed,
            evaluation_data=request.evaluation,
            metric=request.metric,
            max_drop=request.max_drop,
            max_trials=request.max_trials,
            time_limit=request.time_limit,
            skip_steps=request.skip_step,
            validate=not request.no_validate,
            latency_tuning=not request.no_latency_tuning,
            costs=request.costs,
            tokenizer=request.tokenizer,
            window=request.window,
            progress=progress,
        )


def _layer_bits(given: tuple[str, ...]) -> dict[str, int]:
    """Patterns and bits of ``PATTERN=BITS``."""
    found = {}
    for text in given:
        pattern, _, bits = text.rpartition("=")
        if not pattern or not bits.isdigit():
            raise RecipeError(
                f"{text!r} is no pattern with bits",
                where="--layer-bits",
                remedy="Write it as 'lm_head=8'",
            )
        found[pattern] = int(bits)
    return found


def _save(request: _Request, result: QuantizationResult) -> SavedModel | None:
    if not (result.passed or request.keep_best):
        return None
    return result.save(request.target_file, even_if_failed=request.keep_best)


def _show(result: QuantizationResult, saved: SavedModel | None) -> None:
    from edgeq.report.terminal import render

    show(render(result.report))
    if saved is not None:
        files = " and ".join(printable(str(file)) for file in saved.files)
        click.echo(f"\nWrote {files} ({file_size(saved.size_bytes)})")
