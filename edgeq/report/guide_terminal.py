"""What ``edgeq guide`` found, as a table in the terminal, and the command line at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from edgeq.report.elements import paragraphs, plain, sentences, table
from edgeq.report.text import file_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType


def render(found: Mapping[str, Any]) -> RenderableType:
    """The models, those that nothing beats marked, and what is recommended."""
    return paragraphs(
        [
            _models(found),
            sentences("note", "dim", found["notes"]),
            _advice(found),
        ]
    )


def _models(found: Mapping[str, Any]) -> RenderableType:
    timed = "tokens/s" if found["context"] else "ms"
    numbers = ("score", timed, "faster", "size", *(("cache",) if found["context"] else ()))
    made = table("Models, in the order they were tried", "", "model", *numbers, "", numbers=numbers)
    for row in found["models"]:
        ratio, spent = row["time_ratio"], row["milliseconds"]
        mark = "best" if row["name"] == found["recommended"] else "*" if row["frontier"] else ""
        made.add_row(
            mark,
            plain(row["name"]),
            f"{row['score']:.4f}",
            "" if spent is None else f"{1e3 / spent if found['context'] else spent:.3g}",
            "" if not ratio else f"{1 / ratio:.2f}",
            file_size(row["size_bytes"]),
            *((file_size(row["cache_bytes"]),) if found["context"] else ()),
            plain(row["reason"] or ""),
            style="" if row["holds"] else "dim",
        )
    made.caption = "* nothing beats it in score, time and memory at once"
    if found["context"]:
        made.caption += f"; cache and times at {found['context']} tokens"
    made.caption_justify = "left"
    return made


def _advice(found: Mapping[str, Any]) -> RenderableType:
    if found["recommended"] is None:
        said = f"No model keeps to --max-drop {found['max_drop']} and beats the original"
        return plain(said, "bold red")
    if found["command"] is None:
        return plain(f"Recommended: {found['recommended']}", "bold green")
    return Text.assemble(("Recommended:\n", "bold green"), plain(f"  {found['command']}"))
