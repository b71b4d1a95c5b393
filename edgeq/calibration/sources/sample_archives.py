"""A folder of .npz files: one sample a file, arrays named by input and shaped as fed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.sources.folders import Folder
from edgeq.calibration.sources.labels import PREFIX, stack_labels
from edgeq.calibration.sources.npz import load_arrays
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited, picked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array

SUFFIXES = frozenset({".npz"})


def _recognises(data: object) -> bool:
    return isinstance(data, Folder) and bool(data.having(SUFFIXES))


def _open(folder: Folder, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    found = folder.having(SUFFIXES)
    length = limited(len(found), limit)
    files = [folder.path / file for file in found[:length]]
    names = frozenset(spec.name for spec in inputs)

    def pick(index: int) -> RawSample:
        arrays = load_arrays(files[index], lambda name: not is_label(name, names))
        return RawSample(str(files[index]), arrays)

    def labels() -> Mapping[str, Array]:
        return stack_labels([_labels(path, names) for path in files], str(folder))

    return Reading(
        description=f"{counted(len(found), limit, '.npz file')} in {folder}",
        read=picked(pick, length),
        length=length,
        pick=pick,
        ahead=True,
        assumptions=folder.unused_settings(),
        labels=labels,
    )


def is_label(name: str, inputs: frozenset[str]) -> bool:
    """Whether an array is a label: by its prefix, unless the model has an input so named."""
    return name.startswith(PREFIX) and name not in inputs


def _labels(path: Path, inputs: frozenset[str]) -> dict[str, Array]:
    arrays = load_arrays(path, lambda name: is_label(name, inputs))
    return {name.removeprefix(PREFIX): array for name, array in arrays.items()}


KIND = Kind(
    accepts="a folder of .npz files, one sample each, arrays named by input",
    recognises=_recognises,
    open=_open,
)
