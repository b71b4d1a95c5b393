"""The report as a summary in the terminal."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from edgeq.report.elements import (
    facts,
    latency_table,
    needs_rows,
    paragraphs,
    plain,
    sentences,
    table,
)
from edgeq.report.sensitivity_terminal import all_layers, causes, parted, worst_values
from edgeq.report.text import amount, counted, file_size
from edgeq.validation.advice import FAR_OFF_DB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from edgeq.report.document import Report
    from edgeq.runtime.latency import LatencyComparison
    from edgeq.validation.coverage import Coverage, FloatNode
    from edgeq.validation.verdict import Score

_GIVEN = "given"
"""What stands for the scheme of a candidate that somebody else made."""

_FLOAT_NODES = 8
_WORST_LAYERS = 5
_SVG_WIDTH = 88


def render(report: Report, *, everything: bool = False) -> RenderableType:
    """The summary that a colleague understands.

    Args:
        report: What was done and measured.
        everything: List every float node, and every layer in the order of the graph; otherwise
            the heaviest nodes, and the worst layers where an output is far off.
    """
    candidate = "candidate" if report.scheme == _GIVEN else report.scheme
    return paragraphs(
        [
            _headline(report),
            _facts(report),
            _outputs(report),
            latency_table(report.latency, "fp32", candidate),
            _float_nodes(report, everything),
            _layers(report, everything),
            *_why(report, everything),
            sentences("warning", "yellow", report.warnings),
            sentences("note", "dim", report.notes),
        ]
    )


def export_svg(report: Report) -> str:
    """The same summary as a picture."""
    console = Console(record=True, width=_SVG_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(render(report))
    # A picture of one's results must not fetch fonts from a stranger's server.
    return re.sub(r"@font-face\s*{.*?}", "", console.export_svg(title="edgeq"), flags=re.DOTALL)


def _headline(report: Report) -> RenderableType:
    passed = report.verdict.passed
    head = Text(report.verdict.text, style="bold green" if passed else "bold red")
    said = [*_size_words(report), *_speed_words(report.latency), *_closeness_words(report)]
    head.append(f": {', '.join(said)}" if said else "", style="bold")
    lines: list[RenderableType] = [head]
    lines += [plain(f"failed: {failure}", "red") for failure in report.verdict.failures]
    return Group(*lines)


def _size_words(report: Report) -> Iterator[str]:
    small, large = sorted((report.fp32_bytes, report.candidate_bytes))
    if small:
        word = "smaller" if report.candidate_bytes <= report.fp32_bytes else "larger"
        yield f"{large / small:.2f}x {word}"


def _speed_words(latency: Sequence[LatencyComparison]) -> Iterator[str]:
    if latency:
        best = max(latency, key=lambda comparison: comparison.speedup)
        threads = counted(best.threads, "thread") if best.threads else "all threads"
        if best.speedup >= 1:
            yield f"{best.speedup:.2f}x faster with {threads}"
        else:
            yield f"SLOWER ({1 / max(best.speedup, 1e-9):.2f}x the time with {threads})"


def _closeness_words(report: Report) -> Iterator[str]:
    if not report.outputs:
        return
    worst = min(closeness.sqnr_db for closeness in report.outputs.values())
    far = "FAR OFF " if worst < FAR_OFF_DB else ""
    where = "worst output" if len(report.outputs) > 1 else "output"
    yield f"{where} {far}at {worst:.1f} dB SQNR"


def _facts(report: Report) -> RenderableType:
    path = report.model.path
    name = "a model in memory" if path is None else path.name
    how = [counted(report.samples, "sample")]
    if report.scheme != _GIVEN:
        how = [
            f"{report.scheme} for {report.target}",
            f"{_found_by(report)} {report.calibrator}",
            *how,
        ]
    ratio = report.candidate_bytes / max(report.fp32_bytes, 1)
    rows = [
        ("model", f"{name} (opset {report.model.opset})"),
        ("run", ", ".join(how)),
        (
            "size",
            f"{file_size(report.fp32_bytes)} -> {file_size(report.candidate_bytes)} ({ratio:.0%})",
        ),
        *_coverage_rows(report),
        *_metric_rows(report.metric),
        *needs_rows(report.needs),
        ("took", ", ".join(_took(report))),
    ]
    return facts(rows)


def _took(report: Report) -> Iterator[str]:
    yield f"{sum(report.timings.values()):.1f} s"
    if report.stages:
        yield f"models ran {sum(stage.running for stage in report.stages):.1f} s of it"
    yield f"{report.peak_rss_mb:.0f} MB at most"


def _found_by(report: Report) -> str:
    return "method" if report.blocks else "calibrator"


def _coverage_rows(report: Report) -> Iterator[tuple[str, str]]:
    coverage = report.coverage
    if coverage is None:
        yield "integers", "not measured"
        return
    found = (
        f"{counted(coverage.boundary_crossings, 'conversion')}, as the target promises"
        if coverage.promised
        else counted(coverage.leftover_qdq, "leftover Q/DQ node")
    )
    yield (
        " and ".join(_computed_in(coverage)) or "integers",
        f"{coverage.ratio:.1%} of {amount(coverage.total)} multiply-accumulates, {found}",
    )


def _computed_in(coverage: Coverage) -> Iterator[str]:
    if coverage.integer:
        yield "integers"
    if coverage.half:
        yield "float16"


def _metric_rows(score: Score | None) -> Iterator[tuple[str, str]]:
    if score is not None:
        change = "worse" if score.drop > 0 else "better"
        yield (
            "metric",
            f"{score.name}: {score.fp32:.4f} -> {score.candidate:.4f}"
            + (f" ({abs(score.drop):.4f} {change})" if score.drop else " (the same)"),
        )


def _outputs(report: Report) -> RenderableType | None:
    if not report.outputs:
        return None
    columns = ("output", "SQNR dB", "cosine", "max error", "top-1 same")
    made = table("Closeness to fp32", *columns, numbers=columns[1:])
    for name, closeness in report.outputs.items():
        style = "" if closeness.finite and closeness.sqnr_db >= FAR_OFF_DB else "red"
        agreement = closeness.top1_agreement
        made.add_row(
            plain(name),
            Text(f"{closeness.sqnr_db:.1f}" if closeness.finite else "not finite", style),
            f"{closeness.cosine:.4f}",
            f"{closeness.max_abs_error:.3g}",
            "" if agreement is None else f"{agreement:.1%}",
        )
    return made


def _float_nodes(report: Report, everything: bool) -> RenderableType | None:
    coverage = report.coverage
    if coverage is None or not coverage.float_nodes:
        return None
    shown = coverage.float_nodes[: None if everything else _FLOAT_NODES]
    rest = len(coverage.float_nodes) - len(shown)
    title = f"Left in float{f' (and {rest} more)' if rest else ''}"
    made = table(title, "node", "operator", "MACs", "why", numbers=("operator", "MACs"))
    made.columns[1].justify = "left"
    for node in shown:
        made.add_row(
            plain(node.name), plain(node.op_type), _share(node, coverage.total), plain(node.reason)
        )
    return made


def _share(node: FloatNode, total: int) -> str:
    if node.macs is None:
        return "?"
    return f"{node.macs / total:.1%}" if total else amount(node.macs)


def _layers(report: Report, everything: bool) -> RenderableType | None:
    if not report.layers or not (everything or _is_far(report)):
        return None
    if everything:
        return all_layers(report.layers, "Layers")
    worst = sorted(report.layers, key=lambda layer: -layer.fall_db)[:_WORST_LAYERS]
    return all_layers(worst, "Layers that lose most")


def _why(report: Report, everything: bool) -> list[RenderableType | None]:
    """Likely causes where an output is far off; more where it is asked for."""
    if not everything and not _is_far(report):
        return []
    shown = [causes(report.layers)]
    return [*shown, worst_values(report.values), parted(report.parting)] if everything else shown


def _is_far(report: Report) -> bool:
    return any(closeness.sqnr_db < FAR_OFF_DB for closeness in report.outputs.values())
