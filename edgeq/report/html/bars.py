"""Bars that need no script: SVG with attributes only, as the page's policy forbids inline style."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.report.html.markup import Content, Markup, join, tag, text
from edgeq.report.html.words import finite, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def bar(value: Any, largest: Any, kind: str) -> Markup:
    """A bar from the left; its length is ``value`` of ``largest``.

    Args:
        value: What is shown; nothing where it is no number.
        largest: What fills the whole width.
        kind: CSS class that colours it.
    """
    known = finite(value) and finite(largest) and largest > 0
    share = min(max(value / largest, 0.0), 1.0) if known else 0.0
    return _drawing(_part(0.0, 100 * share, kind), hidden=True)


def change_bar(value: Any, largest: Any) -> Markup:
    """A bar from the middle: to the right for a gain, to the left for a loss."""
    known = finite(value) and finite(largest) and largest > 0
    share = min(max(value / largest, -1.0), 1.0) if known else 0.0
    left, width = (50.0, 50 * share) if share >= 0 else (50 * (1 + share), -50 * share)
    middle = tag("rect", x=49.75, y=0, width=0.5, height=10, class_="axis")
    return _drawing(_part(left, width, "gain" if share >= 0 else "loss"), middle, hidden=True)


def stacked(parts: Sequence[tuple[str, float, str]]) -> Markup:
    """Parts of a whole beside each other, with a legend.

    Args:
        parts: What each is called, its fraction of the whole, and the CSS class that colours it.
    """
    drawn, start = [], 0.0
    for _, share, kind in parts:
        drawn.append(_part(start, 100 * share, kind))
        start += 100 * share
    said = ", ".join(f"{name} {percent(share)}" for name, share, _ in parts)
    legend: list[Content] = [
        tag("li", tag("span", class_=f"key {kind}"), join([name, text(percent(share))], " "))
        for name, share, kind in parts
    ]
    return join([_drawing(*drawn, said=said), tag("ul", *legend, class_="legend")])


def _part(start: float, width: float, kind: str) -> Markup:
    # A part that is there must be seen.
    shown = max(width, 0.4) if width > 0 else 0.0
    return tag("rect", x=start, y=0, width=shown, height=10, class_=kind)


def _drawing(*parts: Content, said: str | None = None, hidden: bool = False) -> Markup:
    return tag(
        "svg",
        *parts,
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        role=None if hidden else "img",
        aria_label=said,
        aria_hidden="true" if hidden else None,
    )
