"""``edgeq inspect``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.progress import progress_bar
from edgeq.cli.show import show, show_json
from edgeq.errors import RecipeError
from edgeq.report.text import amount, counted, file_size

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from edgeq.api import Inspection
    from edgeq.api.estimating import Estimates
    from edgeq.api.sensing import Sensitivity
    from edgeq.quantization.plan import NodeDecision
    from edgeq.weight_only.sizes import ModelSizes

_FLOAT_NODES = 12
_MATRICES = 8


@click.command(short_help="Show what a model is made of.")
@click.argument("model", type=options.PATH)
@options.target_option
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Quantize to plain int8, and show which layers and values cost most, and why; needs "
    "--calib.",
)
@click.option(
    "--sizes", is_flag=True, help="Show what each matrix takes as fp32, fp16, w8, w4 and w2."
)
@click.option(
    "--weights",
    is_flag=True,
    help="Foretell from the weights which matrices lose most as w8, w4 and w2; needs no data.",
)
@click.option(
    "--estimate",
    is_flag=True,
    help="Count what a run would move, compute and need of memory and energy on a board.",
)
@click.option(
    "--board",
    metavar="NAME|FILE.toml",
    help="For --estimate: one of edgeq list boards, or a file of yours; default: generic.",
)
@options.fix_shape_option
@options.calib_option()
@options.max_samples_option
@options.threads_option
@options.quiet_option
@options.json_option("what is found")
@options.debug_option
def inspect(
    model: Path,
    *,
    target: str,
    sensitivity: bool,
    sizes: bool,
    weights: bool,
    estimate: bool,
    board: str | None,
    fix_shape: tuple[str, ...],
    calib: str | None,
    max_samples: int | None,
    threads: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show what MODEL is made of, and what of it would run in integers."""
    _require_both(calib, board, sensitivity=sensitivity, estimate=estimate)
    fixed = options.parse_shapes(fix_shape)
    with progress_bar(silent=not sensitivity or quiet or as_json) as progress:
        from edgeq import api

        found = api.inspect(
            model,
            target=target,
            calibration_data=calib,
            max_samples=max_samples,
            threads=threads,
            sizes=sizes,
            weights=weights,
            sensitivity=sensitivity,
            estimate=estimate,
            board=board or "generic",
            fix_shapes=fixed,
            progress=progress,
        )
    if as_json:
        show_json(_document(found))
    elif not quiet:
        show(*_view(found))


def _require_both(
    calib: str | None, board: str | None, *, sensitivity: bool, estimate: bool
) -> None:
    if sensitivity and calib is None:
        raise RecipeError(
            "there are no samples to measure with", where="--sensitivity", remedy="Give --calib"
        )
    if calib is not None and not (sensitivity or estimate):
        raise RecipeError(
            "without --sensitivity nothing is measured",
            where="--calib",
            remedy="Add --sensitivity, or --estimate",
        )
    if board is not None and not estimate:
        raise RecipeError(
            "without --estimate nothing is counted", where="--board", remedy="Add --estimate"
        )


def _document(found: Inspection) -> dict[str, Any]:
    def port(port: Any) -> dict[str, Any]:
        shape = None if port.shape is None else list(port.shape)
        return {"name": port.name, "dtype": port.dtype, "shape": shape}

    return {
        "schema": 1,
        "model": {
            "path": None if found.path is None else str(found.path),
            "sha256": found.sha256,
            "size_bytes": found.size_bytes,
            "opset": found.opset,
            "inputs": [port(each) for each in found.interface.inputs],
            "outputs": [port(each) for each in found.interface.outputs],
        },
        "target": found.target,
        "nodes": dict(found.nodes),
        "parameters": found.parameters,
        "macs": found.macs,
        "forecast": _foretold(found),
        "decisions": [
            {"name": d.node, "op_type": d.op_type, "form": d.form.value, "reason": d.reason}
            for d in found.decisions
        ],
        "notes": list(found.notes),
        "needs": None if found.needs is None else found.needs.to_dict(),
        **({} if found.sizes is None else {"sizes": _sizes_document(found.sizes)}),
        **(
            {} if found.weights is None else {"weights": [each.to_dict() for each in found.weights]}
        ),
        **({} if found.estimates is None else {"estimate": _estimated(found.estimates)}),
        **({} if found.sensitivity is None else _measured(found.sensitivity)),
    }


def _estimated(found: Estimates) -> dict[str, Any]:
    from edgeq.report.estimate import document

    return document(found.board, found.forms)


def _foretold(found: Inspection) -> dict[str, Any]:
    forecast = found.forecast
    return {
        "coverage": {
            "int8": forecast.int8,
            "float": forecast.float_,
            "ratio": round(forecast.ratio, 4),
            "sizes_known": found.macs is not None,
        },
        "regions": {"integer": forecast.integer_regions, "float": forecast.float_regions},
        "boundary_crossings": forecast.crossings,
        "partitions": forecast.partitions,
        "nodes_on_fallback": forecast.on_fallback,
        "float_nodes": [
            {"name": each.node, "op_type": each.op_type, "macs": each.macs, "reason": each.reason}
            for each in forecast.float_nodes
        ],
    }


def _measured(found: Sensitivity) -> dict[str, Any]:
    from edgeq.report.sensitivity import layer_row, parting_row, value_row

    return {
        "samples": found.samples,
        "accuracy": {
            "outputs": {
                name: {"sqnr_db": round(closeness.sqnr_db, 3), "cosine": round(closeness.cosine, 6)}
                for name, closeness in found.outputs.items()
            }
        },
        "layers": [layer_row(layer) for layer in found.diagnosis.layers],
        "values": [value_row(value) for value in found.diagnosis.values],
        "parting": parting_row(found.diagnosis.parting),
    }


def _view(found: Inspection) -> list[RenderableType]:
    from rich.text import Text

    from edgeq.report.elements import facts, plain

    parts: list[RenderableType] = [facts(_facts(found))]
    if found.decisions:
        parts += [Text(), _predicted(found)]
    if found.forecast.float_nodes:
        parts += [Text(), _heaviest(found)]
    if any(d.form.value == "float" for d in found.decisions):
        parts += [Text(), _left_float(found)]
    if found.sizes is not None:
        parts += [Text(), _sizes(found.sizes)]
    if found.weights is not None:
        from edgeq.report.outlook_terminal import foretold

        parts += [Text(), foretold(found.weights)]
    if found.estimates is not None:
        from edgeq.report.estimate_terminal import estimated

        parts += [Text(), estimated(found.estimates.board, found.estimates.forms)]
    if found.sensitivity is not None:
        parts += [Text(), _costs(found.sensitivity)]
    if found.notes:
        parts += [Text(), *(plain(f"note: {note}", "dim") for note in found.notes)]
    return parts


def _sizes_document(found: ModelSizes) -> dict[str, Any]:
    return {
        "total": dict(found.total),
        "rest": dict(found.rest),
        "matrices": [
            {
                "name": each.name,
                "nodes": list(each.nodes),
                "shape": [each.rows, each.columns],
                "copies": each.copies,
                "bytes": dict(each.bytes),
            }
            for each in found.matrices
        ],
    }


def _sizes(found: ModelSizes) -> RenderableType:
    """Matrix by matrix, largest first, with bits a weight where scales are part of them."""
    from edgeq.report.elements import plain, table
    from edgeq.weight_only.sizes import FORMS

    rest = len(found.matrices) - _MATRICES
    others = f" (and {rest} more matrices)" if rest > 0 else ""
    title = f"Size of the weights, and bits for each, scales included{others}"
    made = table(title, "read by", "shape", *FORMS, numbers=("shape", *FORMS))
    for each in found.matrices[:_MATRICES]:
        cells = [f"{file_size(each.bytes[form])}\n{each.bits(form):.4g} bits" for form in FORMS]
        more = f" and {len(each.nodes) - 1} more" if len(each.nodes) > 1 else ""
        made.add_row(plain(f"{each.nodes[0]}{more}"), f"{each.rows}x{each.columns}", *cells)
    made.add_row("other constants", "", *(file_size(found.rest[form]) for form in FORMS))
    made.add_row("all", "", *(file_size(found.total[form]) for form in FORMS))
    return made


def _costs(found: Sensitivity) -> RenderableType:
    """Layer by layer, what plain int8 costs, then the worst and why."""
    from edgeq.report.elements import paragraphs, plain
    from edgeq.report.sensitivity_terminal import all_layers, causes, parted, worst_values

    closeness = ", ".join(f"{name} {of.sqnr_db:.1f} dB" for name, of in found.outputs.items())
    layers = found.diagnosis.layers
    return paragraphs(
        [
            plain(f"Plain int8, on {counted(found.samples, 'sample')}: {closeness}", "bold"),
            all_layers(layers, "Layers") if layers else None,
            worst_values(found.diagnosis.values),
            causes(layers),
            parted(found.diagnosis.parting),
        ]
    )


def _facts(found: Inspection) -> list[tuple[str, str]]:
    from edgeq.graph.macs import COMPUTE_OPS
    from edgeq.report.elements import needs_rows

    kinds = sorted(found.nodes.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count} {op}" for op, count in kinds)
    compute = [d.form.value for d in found.decisions if d.op_type in COMPUTE_OPS]
    integers = len(compute) - compute.count("float")
    return [
        ("model", "in memory" if found.path is None else str(found.path)),
        ("size", file_size(found.size_bytes)),
        ("sha256", found.sha256),
        ("opset", str(found.opset)),
        *(("input", str(port)) for port in found.interface.inputs),
        *(("output", str(port)) for port in found.interface.outputs),
        ("parameters", amount(found.parameters)),
        ("MACs", "shapes are dynamic" if found.macs is None else f"{amount(found.macs)} a run"),
        ("nodes", f"{sum(found.nodes.values())}: {listed}"),
        (
            "integers",
            f"{integers} of {counted(len(compute), 'node')} that multiply, {_shares(found)}",
        ),
        ("regions", _regions(found)),
        *needs_rows(found.needs),
    ]


def _shares(found: Inspection) -> str:
    forecast = found.forecast
    total = forecast.int8 + forecast.float_
    if not total:
        return "sizes are not known"
    assumed = "" if found.macs is not None else ", sizes that are not known taken as 1"
    return f"{forecast.ratio:.1%} of the arithmetic{assumed}"


def _regions(found: Inspection) -> str:
    forecast = found.forecast
    text = (
        f"{forecast.integer_regions} in integers, {forecast.float_regions} in float, "
        f"{counted(forecast.crossings, 'conversion')} between them"
    )
    if forecast.partitions is None:
        return text
    return (
        f"{text}; {counted(forecast.partitions, 'partition')} on the target, "
        f"{counted(forecast.on_fallback, 'node')} on its fallback"
    )


def _predicted(found: Inspection) -> RenderableType:
    """How many nodes of each operator would run in which form."""
    from edgeq.graph.macs import COMPUTE_OPS
    from edgeq.report.elements import plain, table

    forms = ("static", "dynamic", "absorbed", "float")
    counts = Counter((d.op_type, d.form.value) for d in found.decisions)
    shown = [form for form in forms if any(f == form for _, f in counts)]
    headings = {"static": "int8", "dynamic": "int8 dynamic"}
    columns = [headings.get(form, form) for form in shown]
    made = table(f"Would run on {found.target} in", "operator", *columns, numbers=columns)
    for op in sorted({op for op, _ in counts}, key=lambda op: (op not in COMPUTE_OPS, op)):
        made.add_row(plain(op), *(str(counts[op, form] or "") for form in shown))
    return made


def _heaviest(found: Inspection) -> RenderableType:
    """The nodes that multiply and would stay float, one by one."""
    from edgeq.report.elements import plain, table

    left = found.forecast.float_nodes
    rest = len(left) - _FLOAT_NODES
    title = f"Would multiply in float{f' (and {rest} more)' if rest > 0 else ''}"
    made = table(title, "node", "operator", "MACs", "why", numbers=("MACs",))
    for each in left[:_FLOAT_NODES]:
        macs = "unknown" if each.macs is None else amount(each.macs)
        made.add_row(plain(each.node), plain(each.op_type), macs, plain(each.reason))
    return made


def _left_float(found: Inspection) -> RenderableType:
    """What would stay float and why, nodes of one operator and reason together."""
    from edgeq.graph.macs import COMPUTE_OPS
    from edgeq.report.elements import plain, table

    groups: dict[tuple[str, str], list[NodeDecision]] = {}
    for decision in found.decisions:
        if decision.form.value == "float":
            groups.setdefault((decision.op_type, decision.reason), []).append(decision)
    # What multiplies comes first: the rest costs little, or only follows its neighbours.
    ranked = sorted(groups.items(), key=lambda item: (item[0][0] not in COMPUTE_OPS, -len(item[1])))
    rest = len(ranked) - _FLOAT_NODES
    title = f"Would stay in float{f' (and {rest} more groups)' if rest > 0 else ''}"
    made = table(title, "operator", "nodes", "such as", "why", numbers=("nodes",))
    for (op, reason), decisions in ranked[:_FLOAT_NODES]:
        made.add_row(plain(op), str(len(decisions)), plain(decisions[0].node), plain(reason))
    return made
