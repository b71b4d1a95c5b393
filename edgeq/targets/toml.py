"""Reads TOML files of users, key by key: every mistake is told with its place."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING, Any, Final

from edgeq.errors import RecipeError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_LARGEST: Final = 1 << 20
"""Bytes of a file; the built-in ones would take a few thousand."""


def content(path: Path, what: str, kind: str) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        what: What it is, for messages.
        kind: What ``edgeq list`` calls the built-in ones.

    Raises:
        RecipeError: It cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            found = file.read(_LARGEST + 1)
    except OSError as error:
        raise RecipeError(
            f"cannot read the {what}: {error.strerror}",
            where=str(path),
            remedy=f"Check the path; edgeq list {kind} shows the built-in ones",
        ) from error
    if len(found) > _LARGEST:
        raise RecipeError(f"too large for a {what}", where=str(path), remedy="Check the path")
    return found


def table(given: bytes, where: str) -> dict[str, object]:
    """The table that a file holds.

    Raises:
        RecipeError: It is no TOML.
    """
    try:
        return tomllib.loads(given.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"not a TOML file: {error}", where=where, remedy="Mend the line"
        ) from error


def require_known(given: Mapping[str, object], known: Collection[str], where: str) -> None:
    """Refuse keys that nobody reads.

    Raises:
        RecipeError: There is one; the nearest name is suggested.
    """
    for key in given:
        if key not in known:
            raise RecipeError(f"unknown key {key!r}", where=where, remedy=nearest(key, known))


def wrong(value: object, wanted: str, where: str) -> RecipeError:
    """The error that tells what a value should be."""
    return RecipeError(f"{value!r} is no {wanted}", where=where, remedy=f"Write a {wanted}")


def text(value: object, where: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong(value, "text", where)
    return value


def flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(value, "true or false", where)
    return value


def number(value: object, where: str) -> int:
    """A whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(value, "whole number above 0", where)
    return value


def real(value: object, where: str) -> float:
    """A finite number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(value, "number", where)
    if not math.isfinite(value) or value < 0:
        raise wrong(value, "finite number from 0 on", where)
    return float(value)


def items(value: object, where: str) -> list[object]:
    """A list."""
    if not isinstance(value, list):
        raise wrong(value, "list", where)
    return value


def texts(value: object, where: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(text(each, where) for each in items(value, where))


def subtable(value: object, where: str) -> dict[str, Any]:
    """A table inside the file's."""
    if not isinstance(value, dict):
        raise wrong(value, "table", where)
    return value
