"""The report of ``edgeq optimize`` as a summary in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from edgeq.report.text import amount, counted, file_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edgeq.report.optimization import OptimizationReport

_REASONS = 12


def render(report: OptimizationReport, *, everything: bool = False) -> RenderableType:
    """The summary that a colleague understands.

    Args:
        report: What was done and measured.
        everything: List every pass and every place that was left alone; otherwise the passes that
            changed something and the first few places.
    """
    return paragraphs(
        [
            _headline(report),
            _facts(report),
            _passes(report, everything),
            latency_table(report.latency, "before", "after"),
            _declined(report, everything),
            sentences("warning", "yellow", report.warnings),
            sentences("note", "dim", report.notes),
        ]
    )


def _headline(report: OptimizationReport) -> RenderableType:
    gained = f"{report.before.nodes} -> {report.after.nodes} nodes"
    if report.latency:
        best = max(report.latency, key=lambda comparison: comparison.speedup)
        gained += f", {best.speedup:.2f}x the speed as onnxruntime loads both"
    if not report.proof.holds:
        return Text(f"unproven: {gained}", style="bold yellow")
    return Text(f"good: {gained}, the same outputs", style="bold green")


def _facts(report: OptimizationReport) -> RenderableType:
    path = report.model.path
    name = "a model in memory" if path is None else path.name
    before, after = report.before, report.after
    rows = [
        ("model", f"{name} (opset {report.model.opset})"),
        ("operators", _for(report.target)),
        *_macs(before.macs, after.macs),
        ("size", f"{file_size(before.size_bytes)} -> {file_size(after.size_bytes)}"),
        ("proof", _proof(report)),
        *needs_rows(report.needs),
        ("took", f"{sum(report.timings.values()):.1f} s, {report.peak_rss_mb:.0f} MB at most"),
    ]
    return facts(rows)


def _for(target: str | None) -> str:
    if target is None:
        return "of the ONNX standard only"
    return f"of the ONNX standard, and those of the runtime of target {target}"


def _macs(before: int | None, after: int | None) -> Iterator[tuple[str, str]]:
    if before is not None and after is not None:
        yield "MACs", f"{amount(before)} -> {amount(after)} a run"


def _proof(report: OptimizationReport) -> str:
    proof = report.proof
    if not proof.holds:
        return "neither model ran"
    apart = f"apart by at most {proof.error:.1g} of an output's range" if proof.error else "equal"
    ran = counted(proof.samples, "sample")
    return f"{ran} through both models, {apart} (allowed: {proof.tolerance:.1g})"


def _passes(report: OptimizationReport, everything: bool) -> RenderableType | None:
    shown = [each for each in report.passes if each.changes or everything]
    if not shown:
        return None
    columns = ("pass", "places", "nodes before", "nodes after")
    made = table("Passes", *columns, numbers=columns[1:])
    for each in shown:
        counts = (each.changes, each.nodes_before, each.nodes_after)
        made.add_row(plain(each.name), *map(str, counts))
    return made


def _declined(report: OptimizationReport, everything: bool) -> RenderableType | None:
    """Places that were left alone, those of one pass and reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in report.passes:
        for sentence in each.declined:
            place, _, reason = sentence.rpartition(": ")
            groups.setdefault((each.name, reason), []).append(place)
    if not groups:
        return None
    shown = list(groups.items())[: None if everything else _REASONS]
    rest = len(groups) - len(shown)
    title = f"Left alone{f' (and {rest} more groups)' if rest else ''}"
    made = table(title, "pass", "places", "such as", "why", numbers=("places",))
    for (name, reason), places in shown:
        listed = "; ".join(places) if everything else places[0]
        made.add_row(plain(name), str(len(places)), plain(listed), plain(reason))
    return made
