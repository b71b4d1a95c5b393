"""Files that a command is going to write: checked before the work, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeq.cli.interrupts import watch
from edgeq.cli.invocation import command_line
from edgeq.errors import RecipeError
from edgeq.whole_file import written_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Protocol

    class Reported(Protocol):
        """A result with a report."""

        def json(self) -> str:
            """The report as JSON text."""

        def html(self, command: str | None = None) -> str:
            """The report as a page."""


_HTML = (".html", ".htm")


def check_output(path: Path, option: str, inputs: Sequence[Path]) -> None:
    """Refuse a path that could not be written, while nothing is lost yet.

    Args:
        path: Where a file shall be written.
        option: The option that names it.
        inputs: Files and folders that are read; they and what is in them must stay as they are.

    Raises:
        RecipeError: It is a folder or an input, or its folder is missing or not writable.
    """
    other = f"choose another file with {option}"
    try:
        fault = _fault(path, inputs)
    except (OSError, ValueError) as error:
        fault = (f"the path is unusable: {getattr(error, 'strerror', None) or error}", "Shorten it")
    if fault is not None:
        what, first = fault
        raise RecipeError(what, where=str(path), remedy=f"{first}, or {other}")
    watch(path)


def check_report(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a report that could not be written.

    Raises:
        RecipeError: There is no view of its suffix; or see :func:`check_output`.
    """
    suffix = path.suffix.lower()
    if suffix not in (".json", *_HTML):
        raise RecipeError(
            f"a report is no {suffix or 'file without a suffix'}",
            where=str(path),
            remedy="Write --report FILE.html for people, --report FILE.json for programs",
        )
    check_output(path, "--report", inputs)


def write_reports(paths: Sequence[Path], result: Reported) -> None:
    """Write the report of the running command, each file as its suffix says.

    Raises:
        RecipeError: One cannot be written.
    """
    for path in paths:
        page = path.suffix.lower() in _HTML
        write_text(path, result.html(command_line()) if page else result.json())


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or leave what is there.

    Raises:
        RecipeError: It cannot be written.
    """
    try:
        with written_whole(path) as file:
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Check free space and permissions",
        ) from error


def _fault(path: Path, inputs: Sequence[Path]) -> tuple[str, str] | None:
    """What is wrong with an output path, and the first thing to do about it."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()  # Raises where no file can have this name.
    folder = path.absolute().parent
    if path.is_dir():
        return "the output is a folder", "Add a file name"
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}", "Create it"
    if any(_is_input(path, each) for each in inputs):
        return "the output is a file that is read", "Leave the input as it is"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "the folder is not writable", "Change its permissions"
    return None


def _is_input(path: Path, other: Path) -> bool:
    try:
        if not (path.exists() and other.exists()):
            return path.absolute() == other.absolute()
    except (OSError, ValueError):
        return False  # A reference to a function, or a name that no file can have.
    # By identity where both exist: links and other spellings are the same file.
    return path.samefile(other) or (
        # An older result may lie between the samples, and be replaced: it is none of them.
        path.suffix.lower() not in (".onnx", ".json", ".calib", *_HTML)
        and other.is_dir()
        and path.resolve().is_relative_to(other.resolve())
    )
