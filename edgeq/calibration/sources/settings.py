"""Reads ``calib.toml``: typed values, and errors that name the key."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.calibration.sources.folders import SETTINGS_FILE
from edgeq.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from edgeq.calibration.sources.folders import Folder


@dataclass(frozen=True, slots=True)
class Table:
    """A table of ``calib.toml``; every reader gives None where the key is absent.

    Attributes:
        values: What the table says.
        where: File and table, for messages.
    """

    values: Mapping[str, Any]
    where: str

    def only(self, known: Collection[str]) -> None:
        """Refuse keys that mean nothing here.

        Raises:
            DataError: There is one; the nearest known key is suggested.
        """
        for key in self.values:
            if key not in known:
                raise DataError(
                    f"unknown key {key!r}", where=self.where, remedy=nearest(key, known)
                )

    def text(self, key: str) -> str | None:
        """A text."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, 'a text in quotes, such as "input"')
        return value

    def choice(self, key: str, options: Collection[str]) -> str | None:
        """One of several words."""
        value = self.text(key)
        if value is not None and value not in options:
            raise self.wrong(key, f"one of {', '.join(options)}")
        return value

    def count(self, key: str) -> int | None:
        """An integer above 0."""
        value = self.values.get(key)
        if value is not None and not _is_count(value):
            raise self.wrong(key, "an integer above 0")
        return value

    def pair(self, key: str) -> tuple[int, int] | None:
        """Two integers above 0."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_count, value)):
            raise self.wrong(key, "[height, width], two integers above 0")
        return value[0], value[1]

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """A number or a list of numbers."""
        value = self.values.get(key)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(map(_is_number, listed)):
            raise self.wrong(key, "a number, or a list with one for each channel")
        return tuple(float(number) for number in listed)

    def table(self, key: str) -> Table | None:
        """A table within."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, f"a table, [{key}]")
        return Table(value, f"{self.where} [{key}]")

    def wrong(self, key: str, wanted: str) -> DataError:
        """The error that a value is not what it should be."""
        return DataError(
            f"{key} = {self.values[key]!r} makes no sense",
            where=self.where,
            remedy=f"Write {wanted}",
        )


def load_settings(folder: Folder) -> Table:
    """Read ``calib.toml`` of a folder; an empty table if there is none.

    Raises:
        DataError: The file cannot be read.
    """
    path: Path = folder.path / SETTINGS_FILE
    if not path.is_file():
        return Table({}, str(path))
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(path), remedy="Write it as TOML in UTF-8"
        ) from error


def described(folder: Folder, settings: Table) -> str:
    """``calib/ (calib.toml)``, or ``calib/`` where there are no settings."""
    return f"{folder} ({SETTINGS_FILE})" if settings.values else str(folder)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
