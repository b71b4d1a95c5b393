"""What the terminal views are put together from.

Names come from models of strangers: they go into the terminal as :func:`plain` text, never as
markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgeq.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from edgeq.runtime.latency import LatencyComparison, Timing
    from edgeq.targets.releases import Need


def plain(text: str, style: str = "") -> Text:
    """Text that is shown as it is: no markup, no escape sequences, broken where it must be."""
    return Text(printable(text), style=style, overflow="fold")


def table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    """An empty table in the style of all of them.

    Args:
        title: What it shows.
        columns: Headings.
        numbers: Those of ``columns`` that hold numbers: aligned right, never broken.
    """
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        if column in numbers:
            made.add_column(column, justify="right", no_wrap=True)
        else:
            made.add_column(column, overflow="fold")
    return made


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values, aligned."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(plain(name), plain(value))
    return grid


def needs_rows(need: Need | None) -> Iterator[tuple[str, str]]:
    """The onnxruntime that a model needs, for :func:`facts`; nothing where any will do."""
    if need is not None:
        yield "needs", str(need)


def paragraphs(parts: Sequence[RenderableType | None]) -> Group:
    """Those parts that are there, an empty line between them."""
    return Group(*_spaced([part for part in parts if part is not None]))


def _spaced(parts: list[RenderableType]) -> Iterator[RenderableType]:
    for index, part in enumerate(parts):
        if index:
            yield Text()
        yield part


def latency_table(
    latency: Sequence[LatencyComparison], reference: str, candidate: str
) -> RenderableType | None:
    """Times of two models per thread count; None where nothing was measured.

    Args:
        latency: The comparisons.
        reference: Heading of the original's column, without its unit.
        candidate: Heading of the other one's.
    """
    if not latency:
        return None
    columns = ("threads", f"{reference} ms", f"{candidate} ms", "speed-up")
    made = table("Time of one run: median (quartiles)", *columns, numbers=columns)
    for comparison in latency:
        slower = comparison.speedup < 1
        made.add_row(
            str(comparison.threads or "all"),
            _timing(comparison.fp32),
            _timing(comparison.candidate),
            Text(f"{comparison.speedup:.2f}{' slower' if slower else ''}", "red" if slower else ""),
        )
    return made


def _timing(timing: Timing) -> str:
    return f"{timing.median_ms:.3g} ({timing.p25_ms:.3g} to {timing.p75_ms:.3g})"


def sentences(kind: str, style: str, told: Sequence[str]) -> RenderableType | None:
    """Sentences of one kind, such as warnings; None where there are none."""
    if not told:
        return None
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=style, no_wrap=True)
    grid.add_column(style=style, overflow="fold")
    for sentence in told:
        grid.add_row(kind, plain(sentence))
    return grid
