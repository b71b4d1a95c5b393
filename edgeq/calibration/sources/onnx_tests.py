"""ONNX test data: ``test_data_set_*/input_*.pb``, one sample a folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeq.calibration.sources.folders import Folder
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited, picked
from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array

_SET = re.compile(r"test_data_set_(\w+)")
_INPUT = re.compile(r"input_(\d+)\.pb")


def _recognises(data: object) -> bool:
    return isinstance(data, Folder) and bool(_sets(data))


def _open(folder: Folder, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    sets = _sets(folder)
    names = [spec.name for spec in inputs]

    folders, length = list(sets), limited(len(sets), limit)

    def pick(index: int) -> RawSample:
        where = str(folder.path / folders[index])
        return RawSample(where, _sample(folder.path, sets[folders[index]], names, where))

    return Reading(
        description=f"{counted(len(sets), limit, 'ONNX test data set')} in {folder}",
        read=picked(pick, length),
        length=length,
        pick=pick,
        ahead=True,
        assumptions=("ONNX test data feeds the inputs in the order of the model",),
    )


def _sets(folder: Folder) -> dict[str, list[Path]]:
    """Input files by the folder of their set, the sets in the order of their numbers."""
    sets: dict[str, list[Path]] = {}
    for file in folder.files:
        direct = len(file.parts) == 1
        if _INPUT.fullmatch(file.name) and (direct or _SET.fullmatch(file.parts[0])):
            sets.setdefault("" if direct else file.parts[0], []).append(file)
    return dict(sorted(sets.items(), key=lambda entry: _place(entry[0])))


def _place(name: str) -> tuple[int, str]:
    match = re.search(r"(\d+)$", name)
    return (int(match[1]) if match else -1, name)


def _sample(
    folder: Path, files: Sequence[Path], names: Sequence[str], where: str
) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for file in files:
        match = _INPUT.fullmatch(file.name)
        index = int(match[1]) if match else len(names)
        if index >= len(names):
            raise DataError(
                f"{file.name} is for an input that the model does not have",
                where=where,
                remedy=f"The model wants: {', '.join(names)}",
            )
        arrays[names[index]] = _tensor(folder / file)
    return arrays


def _tensor(path: Path) -> Array:
    try:
        return _parsed(path.read_bytes())
    # What protobuf raises depends on which implementation of it is installed.
    except Exception as error:
        raise DataError(
            f"the file is not a readable TensorProto: {error}",
            where=str(path),
            remedy="Write it with onnx.numpy_helper.from_array; sequences are not accepted",
        ) from error


def _parsed(content: bytes) -> Array:
    # Importing onnx takes a moment, and most data is of another kind.
    import onnx
    from onnx import numpy_helper

    tensor = onnx.TensorProto.FromString(content)
    # External data would make the file read any other file of the machine.
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError("its numbers lie in another file")
    return numpy_helper.to_array(tensor)


KIND = Kind(
    accepts="a folder of test_data_set_* folders with input_*.pb",
    recognises=_recognises,
    open=_open,
)
