"""Labels: what is known about the samples besides what the model is fed."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.sources.folders import LABELS_FILE, has_classes
from edgeq.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.calibration.sources.folders import Folder
    from edgeq.types import Array

PREFIX = "label_"
"""Arrays whose name starts so are labels, unless the model has an input of that name."""


def stack_labels(samples: Sequence[Mapping[str, Array]], where: str) -> Mapping[str, Array]:
    """Stack the labels that samples carry, the samples along axis 0.

    Args:
        samples: One mapping a sample, names without the prefix.
        where: The source, for messages.

    Raises:
        DataError: A label is missing from some samples or changes its shape.
    """
    names = {name for labels in samples for name in labels}
    stacked: dict[str, Array] = {}
    for name in sorted(names):
        shapes = {labels[name].shape for labels in samples if name in labels}
        if len(shapes) > 1 or not all(name in labels for labels in samples):
            raise DataError(
                f"{PREFIX}{name} is not in every sample with the same shape",
                where=where,
                remedy="Give each sample that label, shaped alike",
            )
        stacked[name] = np.stack([labels[name] for labels in samples])
    return stacked


def file_labels(folder: Folder, files: Sequence[Path]) -> Mapping[str, Array]:
    """Labels of files, from ``labels.csv`` or from the class folders that they lie in.

    Args:
        folder: The data folder.
        files: The files that are read, relative to it.

    Returns:
        ``label``, shape [files]: int64 or float64 if all are numbers, else text. Class folders
        that are not named by numbers count from 0 in sorted order, and ``class`` holds their names.

    Raises:
        DataError: ``labels.csv`` cannot be read or does not fit the files.
    """
    table = folder.path / LABELS_FILE
    if table.is_file():
        return {"label": _values(_from_table(table, folder, files))}
    if not has_classes(files):
        return {}
    names = [file.parts[0] for file in files]
    numbers = _values(names)
    if numbers.dtype.kind == "i":
        return {"label": numbers}
    position = {name: index for index, name in enumerate(class_names(folder, files))}
    return {"label": np.array([position[name] for name in names]), "class": np.array(names)}


def class_names(folder: Folder, files: Sequence[Path]) -> list[str]:
    """Names of all class folders, also of those that no file in ``files`` comes from, sorted."""
    suffixes = {file.suffix.lower() for file in files}
    return sorted({file.parts[0] for file in folder.nested(suffixes)})


def label_assumptions(folder: Folder, files: Sequence[Path]) -> tuple[str, ...]:
    """What is assumed about the labels of files, in sentences."""
    if (folder.path / LABELS_FILE).is_file() or not has_classes(files):
        return ()
    names = class_names(folder, files)
    if _values(names).dtype.kind == "i":
        return ("Labels are the numbers that the subfolders are named by",)
    shown = ", ".join(f"{i} = {name}" for i, name in enumerate(names[:3]))
    more = ", ..." if len(names) > 3 else ""
    return (f"Labels count the {len(names)} subfolders in sorted order: {shown}{more}",)


def _from_table(table: Path, folder: Folder, files: Sequence[Path]) -> list[str]:
    rows = _rows(table)
    known = {file.as_posix() for file in folder.files}
    for file in rows:
        if file not in known:
            raise DataError(
                f"{file!r} is not in the folder", where=str(table), remedy=_guess(file, known)
            )
    missing = [file.as_posix() for file in files if file.as_posix() not in rows]
    if missing:
        raise DataError(
            f"{len(missing)} files have no label, the first is {missing[0]!r}",
            where=str(table),
            remedy="Add a line 'file,label' for each, or remove the files",
        )
    return [rows[file.as_posix()] for file in files]


def _guess(file: str, known: set[str]) -> str:
    guess = nearest(file, known)
    return guess if guess.startswith("Did") else "Name files relative to the folder"


def _rows(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(enumerate(csv.reader(stream), start=1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(table), remedy="Write it as UTF-8 CSV"
        ) from error
    rows: dict[str, str] = {}
    for number, cells in lines:
        texts = [cell.strip() for cell in cells]
        if not texts or (number == 1 and texts == ["file", "label"]):
            continue
        if len(texts) != 2 or texts[0] in rows:
            raise DataError(
                "is not 'file,label' with each file once",
                where=f"{table} line {number}",
                remedy="Write one line for each file: its name, a comma, its label",
            )
        rows[texts[0]] = texts[1]
    return rows


def _values(texts: Sequence[str]) -> Array:
    for number, dtype in ((int, np.int64), (float, np.float64)):
        try:
            return np.array([number(text) for text in texts], dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(texts)
