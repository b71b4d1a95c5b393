"""The pace of a language model as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.elements import paragraphs, plain, table
from edgeq.report.text import counted, file_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType


def render(decoded: Mapping[str, Any]) -> RenderableType:
    """One row a length and model."""
    numbers = ("context", "read/s", "written/s", "cache")
    made = table("Tokens a second, by length of the context", "model", *numbers, numbers=numbers)
    for row in decoded["contexts"]:
        for name in ("model", "reference"):
            pace = row[name]
            if pace is not None:
                read, written = (pace[f"{do}_tokens_per_second"] for do in ("prefill", "decode"))
                cache = file_size(pace["cache_bytes"])
                made.add_row(name, str(row["context"]), f"{read:.1f}", f"{written:.2f}", cache)
    return paragraphs([made, plain(_sizes(decoded))])


def _sizes(decoded: Mapping[str, Any]) -> str:
    said = f"The model takes {file_size(decoded['size_bytes'])}"
    if decoded["reference_bytes"] is not None:
        said += f", the reference {file_size(decoded['reference_bytes'])}"
    return f"{said}; {counted(decoded['tokens'], 'token')} written at each length"
