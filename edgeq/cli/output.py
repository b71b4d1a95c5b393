"""Files that a command is going to write: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_output(path: Path, option: str, inputs: Sequence[Path]) -> None:
    """Refuse a path that could not be written, while nothing is lost yet.

    Args:
        path: Where a file shall be written.
        option: The option that names it.
        inputs: Files and folders that are read; they and what is in them must stay as they are.

    Raises:
        RecipeError: It is a folder or an input, or its folder is missing or not writable.
    """
    where, other = str(path), f"choose another file with {option}"
    folder = path.absolute().parent
    if path.is_dir():
        raise RecipeError(
            "the output is a folder", where=where, remedy=f"Add a file name, or {other}"
        )
    if not folder.is_dir():
        raise RecipeError(
            f"there is no folder {str(folder)!r}", where=where, remedy=f"Create it, or {other}"
        )
    if any(_is_input(path, each) for each in inputs):
        raise RecipeError(
            "the output is a file that is read",
            where=where,
            remedy=f"The input is never overwritten: {other}",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RecipeError(
            "the folder is not writable",
            where=where,
            remedy=f"Change its permissions, or {other}",
        )


def check_report(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a report that could not be written.

    Raises:
        UnsupportedError: There is no view of its suffix.
        RecipeError: See :func:`check_output`.
    """
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        raise UnsupportedError(
            "HTML reports are not written yet",
            where=str(path),
            remedy="Write --report FILE.json, or read the summary in the terminal",
        )
    if suffix != ".json":
        raise RecipeError(
            f"a report is no {suffix or 'file without a suffix'}",
            where=str(path),
            remedy="Write --report FILE.json",
        )
    check_output(path, "--report", inputs)


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or leave what is there.

    Raises:
        RecipeError: It cannot be written.
    """
    target = path.absolute()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            file = Path(scratch) / target.name
            file.write_text(text, encoding="utf-8")
            file.replace(target)
    except OSError as error:
        raise RecipeError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Check free space and permissions",
        ) from error


def _is_input(path: Path, other: Path) -> bool:
    if not (path.exists() and other.exists()):
        return path.absolute() == other.absolute()
    # By identity where both exist: links and other spellings are the same file.
    inside = other.is_dir() and path.resolve().is_relative_to(other.resolve())
    return inside or path.samefile(other)
