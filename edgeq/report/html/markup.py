"""Building HTML so that nothing a model says can become markup."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, TypeAlias

from edgeq.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_TAGS = re.compile("<[^>]*>")


class Markup(str):
    """HTML that is safe as it stands. Everything else is text, and escaped where it is put in."""

    __slots__ = ()


Content: TypeAlias = str | None
"""What goes into an element: :class:`Markup`, text, or nothing."""

Attribute: TypeAlias = str | int | float | bool | None
"""Of an element: True is an attribute without a value, False and None are none at all."""

ROWS = 2000
"""Rows of a table at most; a page of more is no page for people."""

_VOID = frozenset({"br", "input", "meta"})
"""Elements without an end. Those of SVG have one: without it the next would be inside."""


def text(given: str) -> Markup:
    """Text that is shown as it is; what cannot be seen is spelled out."""
    return given if isinstance(given, Markup) else Markup(html.escape(printable(given)))


def join(parts: Iterable[Content], between: str = "") -> Markup:
    """Parts one behind the other."""
    return Markup(text(between).join(text(part) for part in parts if part is not None))


def tag(name: str, *content: Content, **attributes: Attribute) -> Markup:
    """An element.

    Args:
        name: Of the element.
        content: What is in it.
        attributes: ``class_`` stands for ``class``, ``data_sort`` for ``data-sort``.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_plain(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def _plain(value: Attribute) -> str:
    return text(value if isinstance(value, str) else f"{value:g}")


def code(given: str) -> Markup:
    """A name out of a model."""
    return tag("code", given)


def table(
    headings: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    *,
    caption: Content = None,
    numbers: Sequence[int] = (),
    **attributes: Attribute,
) -> Markup:
    """A table that scrolls by itself where the screen is too narrow.

    Args:
        headings: Of the columns.
        rows: Their cells.
        caption: What it shows.
        numbers: Columns that hold numbers: aligned right.
        attributes: Of the ``table`` element.
    """
    labels = [Markup(_TAGS.sub("", text(each or ""))) for each in headings]
    kinds = ["number" if index in numbers else None for index in range(len(headings))]
    head = tag(
        "tr",
        *(
            tag("th", each, class_=kind, scope="col")
            for each, kind in zip(headings, kinds, strict=True)
        ),
    )
    # Where there is no room for columns, every cell has to say itself what it is.
    body = [
        tag(
            "tr",
            *(
                tag("td", each, class_=kind, data_label=label or None)
                for each, kind, label in zip(row, kinds, labels, strict=True)
            ),
        )
        for row in rows
    ]
    made = tag(
        "table",
        None if caption is None else tag("caption", caption),
        tag("thead", head),
        tag("tbody", *body),
        **attributes,
    )
    return tag("div", made, class_="scroll")


def section(name: str, title: str, *content: Content, lead: Content = None) -> Markup:
    """A part of the page with a heading that can be linked to.

    Args:
        name: For links.
        title: The heading.
        content: What is in it.
        lead: What it is about, in a sentence.
    """
    return tag(
        "section",
        tag("h2", title, id=f"{name}-title"),
        None if lead is None else tag("p", lead, class_="lead"),
        *content,
        id=name,
        aria_labelledby=f"{name}-title",
    )
