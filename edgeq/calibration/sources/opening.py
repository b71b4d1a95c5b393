"""Opens whatever the user names as DATA: finds the one kind that it is."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.calibration.sources import (
    array_files,
    array_stack,
    callables,
    iterables,
    onnx_tests,
    pictures,
    sample_archives,
    sample_stack,
    sound,
    text,
)
from edgeq.calibration.sources.checked import CheckedSource
from edgeq.calibration.sources.folders import Folder, survey
from edgeq.errors import DataError, RecipeError
from edgeq.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import InputSpec, Kind, SampleSource

KINDS: tuple[Kind, ...] = (
    pictures.KIND,
    sample_archives.KIND,
    array_files.KIND,
    onnx_tests.KIND,
    sound.KIND,
    text.KIND,
    sample_stack.KIND,
    array_stack.KIND,
    callables.REFERENCE_KIND,
    callables.KIND,
    iterables.READER_KIND,
    iterables.KIND,
)


def open_source(
    data: object, inputs: Sequence[InputSpec], *, max_samples: int | None = None
) -> SampleSource:
    """Open calibration or evaluation data for a model.

    Args:
        data: A folder or file, a ``module:callable`` or ``FILE.py:callable`` text, an iterable of
            samples, a callable that returns one, or an object with onnxruntime's ``get_next()``.
        inputs: The inputs that the model must be fed with, in the order of the model.
        max_samples: Largest number of samples to read; None for all.

    Returns:
        A source that reads lazily and holds one sample at a time.

    Raises:
        DataError: The data is of no kind known here or of several, or it cannot be opened.
        RecipeError: ``max_samples`` is below 1, or a reference cannot be imported.
    """
    if max_samples is not None and max_samples < 1:
        raise RecipeError(
            f"{max_samples} samples were asked for", where="max_samples", remedy="Give 1 or more"
        )
    located = _located(data)
    matching = [kind for kind in KINDS if kind.recognises(located)]
    if len(matching) != 1:
        raise _refusal(located, matching)
    reading = matching[0].open(located, inputs, max_samples)
    return CheckedSource(reading, inputs, max_samples)


def _located(data: object) -> object:
    if not isinstance(data, str | PathLike):
        return data
    text = str(data)
    path = Path(text)
    if not _exists(path):
        if is_reference(text):
            return text
        raise DataError(
            "there is no such file or folder",
            where=text or "an empty path",
            remedy="Give an existing path, or FILE.py:callable",
        )
    try:
        return survey(path) if path.is_dir() else path
    except OSError as error:
        raise DataError(
            f"the folder cannot be read: {error.strerror}", where=text, remedy="Check its rights"
        ) from error


def _exists(path: Path) -> bool:
    """Whether it is there; a name that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _refusal(data: object, matching: Sequence[Kind]) -> DataError:
    accepted = f"Accepted is {'; '.join(kind.accepts for kind in KINDS)}"
    if isinstance(data, Folder):
        kinds = " and ".join(kind.accepts for kind in matching)
        what = f"the folder is of more than one kind, {kinds}" if kinds else "there are no samples"
        remedy = "Keep one kind of file in the folder" if matching else accepted
        return DataError(f"{what}; found: {data.contents()}", where=str(data), remedy=remedy)
    if isinstance(data, Path):
        return DataError("is not a file of samples", where=str(data), remedy=accepted)
    if isinstance(data, Mapping):
        return DataError(
            "one dict is not a series of samples",
            where="the calibration data",
            remedy="Pass a list of such dicts, one for each sample",
        )
    return DataError(
        f"{type(data).__name__!r} is not a source of samples",
        where="the calibration data",
        remedy=accepted,
    )
