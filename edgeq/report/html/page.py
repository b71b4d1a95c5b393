"""The page as a whole: one file that loads nothing and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib import resources
from typing import TYPE_CHECKING, Any

from edgeq.report.html.glossary import glossary
from edgeq.report.html.markup import Markup, tag
from edgeq.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 400
"""Characters of a name or sentence; a model may have names of any length."""

_DIGITS = 6


def cleaned(given: Any) -> Any:
    """The same with every text printable and of bounded length, dictionary keys included."""
    if isinstance(given, str):
        shown = printable(given)
        if len(shown) <= _LONGEST:
            return shown
        return f"{shown[: _LONGEST - 40]}\N{HORIZONTAL ELLIPSIS}{shown[-39:]}"
    if isinstance(given, dict):
        return {cleaned(key): cleaned(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [cleaned(each) for each in given]
    return given


def page(
    title: str, about: str, sections: Sequence[tuple[str, str, Markup | None]], data: dict[str, Any]
) -> str:
    """A whole HTML document.

    Args:
        title: Its heading.
        about: What stands under the heading.
        sections: Id, name in the list of contents, and content of each part.
        data: What the script draws.

    Returns:
        Text to be written in UTF-8.
    """
    style, script = _resource("style.css"), _resource("script.js")
    there = [each for each in sections if each[2] is not None]
    there.append(("words", "Words", glossary()))
    contents = [tag("a", name, href=f"#{identifier}") for identifier, name, _ in there]
    body = tag(
        "body",
        tag("header", tag("p", "edgeq", class_="brand"), tag("h1", title), tag("p", about)),
        tag("nav", *contents, aria_label="Contents"),
        tag("main", *(part for _, _, part in there)),
        tag("div", id="tip", role="tooltip", hidden=True),
        tag("script", Markup(_embedded(data)), type="application/json", id="data"),
        tag("script", Markup(script)),
    )
    html = tag("html", _head(title, style, script), body, lang="en")
    return f"<!DOCTYPE html>\n{html}\n"


def _head(title: str, style: str, script: str) -> Markup:
    # Nothing is fetched, and no other script or style applies than these, whatever a name holds.
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        tag("meta", name_="referrer", content_="no-referrer"),
        tag("title", f"{title} - edgeq"),
        tag("style", Markup(style)),
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    plain = json.dumps(_short(data), separators=(",", ":"), allow_nan=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _short(given: Any) -> Any:
    """Numbers with as many digits as are shown; those that are none are null."""
    if isinstance(given, float):
        return float(f"{given:.{_DIGITS}g}") if math.isfinite(given) else None
    if isinstance(given, dict):
        return {key: _short(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [_short(each) for each in given]
    return given
