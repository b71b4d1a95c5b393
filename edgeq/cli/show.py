"""What the commands print on stdout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(*parts: RenderableType) -> None:
    """Print for people."""
    from rich.console import Console

    # Numbers and paths keep the style that the report gave them.
    console = Console(highlight=False)
    for part in parts:
        console.print(part)


def show_json(document: Any) -> None:
    """Print for programs."""
    click.echo(json.dumps(document, indent=2))
