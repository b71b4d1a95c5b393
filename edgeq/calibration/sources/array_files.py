"""A folder of .npy files: one sample a file, for a model with one input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.sources.folders import Folder
from edgeq.calibration.sources.npy import load_npy
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited, picked
from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import InputSpec

SUFFIXES = frozenset({".npy"})


def _recognises(data: object) -> bool:
    return isinstance(data, Folder) and bool(data.having(SUFFIXES))


def _open(folder: Folder, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    files = folder.having(SUFFIXES)
    name = only_input(inputs, str(folder))

    length = limited(len(files), limit)

    def pick(index: int) -> RawSample:
        path = folder.path / files[index]
        return RawSample(str(path), {name: load_npy(path)})

    return Reading(
        description=f"{counted(len(files), limit, '.npy file')} in {folder}",
        read=picked(pick, length),
        length=length,
        pick=pick,
        ahead=True,
        assumptions=folder.unused_settings(),
    )


def only_input(inputs: Sequence[InputSpec], where: str) -> str:
    """Name of the model's single input.

    Raises:
        DataError: The model has several inputs, so that an array without a name does not say
            which one it is for.
    """
    if len(inputs) != 1:
        listing = ", ".join(spec.name for spec in inputs)
        raise DataError(
            f".npy arrays have no names, and the model has {len(inputs)} inputs",
            where=where,
            remedy=f"Save .npz files with an array for each input: {listing}",
        )
    return inputs[0].name


KIND = Kind(
    accepts="a folder of .npy files, one sample each",
    recognises=_recognises,
    open=_open,
)
