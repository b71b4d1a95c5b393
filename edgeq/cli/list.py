"""``edgeq list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeq.cli import options
from edgeq.cli.show import show, show_json
from edgeq.errors import PluginError, RecipeError, nearest
from edgeq.report.text import file_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import RenderableType

    from edgeq.passes.pipelines import Pipeline

Row = dict[str, Any]

_TARGET_DETAILS = (
    "per channel",
    "pair sums",
    "integer biases",
    "dynamic shapes",
    "machines",
    "operators",
    "sources",
)
"""What the list of targets tells programs only."""

_BOARD_DETAILS = ("sources", "energy")
"""What the list of boards tells programs only."""

_CALIBRATOR_LINES = {
    "  parameters": "parameters",
    "  source": "source",
    "  from": "distribution",
    "  remedy": "remedy",
}


@click.command(name="list")
@click.argument("kind", metavar="calibrators|targets|boards|ops|passes|metrics")
@options.json_option("the list")
@options.debug_option
def list_(kind: str, *, as_json: bool) -> None:
    """List what edgeq knows and can do."""
    if kind not in KINDS:
        raise RecipeError(f"there is no list of {kind!r}", remedy=nearest(kind, KINDS))
    rows = KINDS[kind]()
    if as_json:
        show_json(rows)
        return
    if kind == "calibrators":
        show(*_calibrator_view(rows))
    else:
        show(*_view(TITLES[kind], [_SHORTENED.get(kind, dict)(row) for row in rows]))


def _shortened_target(row: Row) -> Row:
    """What fits into a line."""
    return {key: value for key, value in row.items() if key not in _TARGET_DETAILS}


def _shortened_op(row: Row) -> Row:
    """Without how each target takes the operator, and without those that are alike."""
    from edgeq.targets import TARGETS

    first = {id(target.kernels): target.name for target in reversed(TARGETS)}
    alike = {target.name for target in TARGETS if first[id(target.kernels)] != target.name}
    return {**row, "integers on": [name for name in row["integers on"] if name not in alike]}


def _view(title: str, rows: list[Row]) -> list[RenderableType]:
    from edgeq.report.elements import plain, table

    columns = list(rows[0])
    made = table(title, *columns)
    made.columns[0].no_wrap = True
    for row in rows:
        made.add_row(*(plain(_shown(row[column])) for column in columns))
    return [made]


def _calibrator_view(rows: list[Row]) -> list[RenderableType]:
    """A paragraph each: sources are too long for a column."""
    from edgeq.report.elements import facts, plain

    parts: list[RenderableType] = [plain(TITLES["calibrators"], "bold")]
    for row in rows:
        told = [
            (label, _shown(row[key])) for label, key in _CALIBRATOR_LINES.items() if row.get(key)
        ]
        parts += [plain(""), plain(f"{row['name']}  {row['summary']}"), facts(told)]
    return parts


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _calibrators() -> list[Row]:
    from edgeq.calibration import discovery

    auto: Row = {
        "name": discovery.AUTO,
        "summary": "The default: takes for each value the calibrator with the smallest error.",
        "parameters": {},
        "source": None,
        "distribution": "edgeq",
    }
    return [auto, *(_calibrator(name) for name in discovery.discover())]


def _calibrator(name: str) -> Row:
    from edgeq.calibration import discovery

    try:
        info = discovery.describe(name)
    except PluginError as error:
        # One broken package must not hide the others.
        where = discovery.distribution_of(discovery.discover()[name])
        return {
            "name": name,
            "summary": f"unusable: {error.what}",
            "parameters": {},
            "source": None,
            "distribution": where,
            "remedy": error.remedy,
        }
    return {
        "name": info.name,
        "summary": info.summary,
        "parameters": {each.name: each.default for each in info.parameters},
        "source": info.source,
        "distribution": info.distribution,
    }


def _targets() -> list[Row]:
    from edgeq.targets import TARGETS

    return [
        {
            "name": target.name,
            "activations": target.activation.value
            + (" symmetric" if target.activation_symmetric else ""),
            "weights": target.weight.value,
            "opset": target.minimum_opset,
            "runs here": target.executable_here,
            "summary": target.summary,
            "per channel": target.per_channel,
            "pair sums": target.pair_sums.value,
            "integer biases": target.integer_bias,
            "dynamic shapes": target.dynamic_shapes,
            "machines": sorted(target.machines),
            "operators": sorted({row.op_type for row in target.kernels}),
            "sources": list(target.sources),
        }
        for target in TARGETS
    ]


def _boards() -> list[Row]:
    from edgeq.targets.board import boards

    return [
        {
            "name": board.name,
            "flash": board.flash_bytes,
            "ram": board.ram_bytes,
            "weights in": board.weights.value,
            "summary": board.summary,
            "sources": list(board.sources),
            "energy": None
            if board.energy is None
            else {
                **{f"{name} MAC": cost for name, cost in board.energy.mac.items()},
                "activation byte": board.energy.activation_byte,
                "weight byte": board.energy.weight_byte,
                "source": board.energy.source,
            },
        }
        for board in boards()
    ]


def _shortened_board(row: Row) -> Row:
    """Memory for people."""
    sizes = {key: "" if row[key] is None else file_size(row[key]) for key in ("flash", "ram")}
    return {key: each for key, each in {**row, **sizes}.items() if key not in _BOARD_DETAILS}


def _ops() -> list[Row]:
    from edgeq.ops import RULES
    from edgeq.targets import TARGETS

    rows = []
    for rule in RULES:
        kernels = {target.name: target.kernel(rule.op_type) for target in TARGETS}
        row: Row = {
            "operator": rule.op_type,
            "since opset": rule.since,
            "inputs": [role.value for role in rule.roles] + (["..."] if rule.variadic else []),
            "output": rule.output.value,
        }
        placements = {name: k.placement.value for name, k in kernels.items() if k is not None}
        rows.append({**row, "integers on": placements})
    return rows


def _passes() -> list[Row]:
    from edgeq.passes.pipelines import (
        FINALIZE,
        PREPARE,
        PREPARE_FOR_ONNXRUNTIME,
        for_quantizing,
        for_target,
    )
    from edgeq.targets import TARGETS

    float_ = for_target(None)
    own = [(f"optimize --target {t.name}", for_target(t)) for t in TARGETS]
    ready = [(f"quantize --target {t.name}", for_quantizing(t)) for t in TARGETS]
    blocks = ("quantize --scheme w8", PREPARE_FOR_ONNXRUNTIME)
    pipelines = [("optimize", float_), ("quantize", PREPARE), *own, *ready, blocks]
    pipelines.append(("all", FINALIZE))
    rows: dict[str, Row] = {}
    for used_by, pipeline in pipelines:
        for name, summary in _described(pipeline):
            row = rows.setdefault(name, {"name": name, "used by": [], "summary": summary})
            if used_by in ("optimize", "quantize") or not row["used by"]:
                row["used by"].append(used_by)
    return list(rows.values())


def _described(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The passes of a pipeline by name, each once, with the first line of its description."""
    from edgeq.passes.pipelines import flat

    found = {each.__name__: each for each in flat(pipeline)}
    return [(name, (each.__doc__ or "").strip().partition("\n")[0]) for name, each in found.items()]


def _metrics() -> list[Row]:
    from edgeq.metrics.named import METRICS
    from edgeq.metrics.relative import RELATIVE_METRICS

    task: list[Row] = [
        {
            "name": metric.name,
            "summary": metric.summary,
            "better": "higher" if metric.higher_is_better else "lower",
        }
        for metric in METRICS
    ]
    relative: list[Row] = [
        {"name": metric.name, "summary": metric.summary, "better": "higher"}
        for metric in RELATIVE_METRICS
    ]
    return task + relative


def _steps() -> list[Row]:
    from edgeq.refinement.steps import STEPS

    return [{"name": step.name, "summary": step.summary, "source": step.source} for step in STEPS]


def _methods() -> list[Row]:
    from edgeq.weight_only.methods import METHODS

    return [
        {
            "name": each.name,
            "needs data": "yes" if each.needs_data else "no",
            "summary": each.summary,
        }
        for each in METHODS
    ]


KINDS: Mapping[str, Callable[[], list[Row]]] = {
    "calibrators": _calibrators,
    "targets": _targets,
    "boards": _boards,
    "ops": _ops,
    "passes": _passes,
    "steps": _steps,
    "methods": _methods,
    "metrics": _metrics,
}
_SHORTENED: Mapping[str, Callable[[Row], Row]] = {
    "targets": _shortened_target,
    "boards": _shortened_board,
    "ops": _shortened_op,
}
TITLES = {
    "calibrators": "Calibrators: --calibrator NAME[:key=value,...]",
    "targets": "Targets: --target NAME",
    "boards": "Boards: inspect --estimate --board NAME",
    "ops": "Operators that edgeq can put into integers",
    "passes": "Graph passes, in the order in which they run",
    "steps": "Recovery steps, in the order in which they are tried",
    "methods": "Ways to find the integers of weights in blocks (--method)",
    "metrics": "Metrics: --metric NAME, or module:function, or FILE.py:function",
}
