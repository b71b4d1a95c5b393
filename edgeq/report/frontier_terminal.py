"""The report of ``edgeq tune`` as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from edgeq.report.elements import facts, paragraphs, plain, sentences, table
from edgeq.report.text import counted, file_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeq.report.frontier import FrontierReport
    from edgeq.validation.points import Point


def render(report: FrontierReport) -> RenderableType:
    """The frontier, what it beats, and what was picked."""
    return paragraphs(
        [
            _headline(report),
            _facts(report),
            _points(report),
            sentences("note", "dim", report.notes),
        ]
    )


def _headline(report: FrontierReport) -> RenderableType:
    if report.limit is None:
        count = len(report.frontier)
        said = f"{count} of {counted(len(report.points), 'model')} are on the frontier"
        return Text(said, style="bold green")
    style = "bold green" if report.limit.met else "bold red"
    return plain(f"{'good' if report.limit.met else 'failed'}: {report.limit.reason}", style)


def _facts(report: FrontierReport) -> RenderableType:
    path, first = report.model.path, report.points[0]
    better = "higher" if first.score.higher_is_better else "lower"
    rows = [
        ("model", "a model in memory" if path is None else path.name),
        ("target", report.target),
        ("metric", f"{first.score.name}, {better} is better"),
        ("times", _times(report)),
        ("took", f"{sum(report.timings.values()):.1f} s, {report.peak_rss_mb:.0f} MB at most"),
    ]
    return facts(rows)


def _times(report: FrontierReport) -> str:
    time = report.points[0].time
    if time.predicted:
        return f"predicted by costs of {report.costs}"
    return f"measured in turn with fp32, {counted(time.threads, 'thread')}"


def _points(report: FrontierReport) -> RenderableType:
    numbers = ("score", "dB", "ms", "speed-up", "size")
    made = table("Models, the fastest first", "", "model", *numbers, "how", numbers=numbers)
    for point in sorted(report.points, key=lambda each: each.time.ratio):
        beaten = report.dominated.get(point.name)
        mark = "picked" if point.name == report.chosen else "*" if beaten is None else ""
        made.add_row(
            mark,
            plain(point.name),
            f"{point.score.candidate:.4f}",
            "" if point.sqnr_db is None else f"{point.sqnr_db:.1f}",
            f"{point.time.milliseconds:.3g}",
            _speedup(point),
            file_size(point.size_bytes),
            plain(point.made if beaten is None else f"{point.made}; {beaten} beats it"),
            style="" if beaten is None else "dim",
        )
    made.caption = "* nothing beats it in score, time and size at once"
    made.caption_justify = "left"
    return made


def _speedup(point: Point) -> str:
    return f"{1.0 / point.time.ratio:.2f}" if point.time.ratio else ""
