"""One .npy file: axis 0 counts the samples, for a model with one input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.sources.array_files import SUFFIXES, only_input
from edgeq.calibration.sources.npy import map_npy
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited, picked
from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import InputSpec


def _recognises(data: object) -> bool:
    return isinstance(data, Path) and data.suffix.lower() in SUFFIXES


def _open(path: Path, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    name = only_input(inputs, str(path))
    shape = map_npy(path).shape
    if not shape:
        raise DataError(
            "the array is a single number; axis 0 should count the samples",
            where=str(path),
            remedy="Stack the samples along a new first axis",
        )

    length = limited(shape[0], limit)

    def pick(index: int) -> RawSample:
        # Mapped anew each time: the file may be open for hours otherwise, and mapping is cheap.
        return RawSample(f"{path} sample {index}", {name: np.array(map_npy(path)[index])})

    return Reading(
        description=f"{counted(shape[0], limit, 'sample')} in {path}",
        read=picked(pick, length),
        length=length,
        pick=pick,
    )


KIND = Kind(
    accepts="one .npy file, axis 0 counting the samples",
    recognises=_recognises,
    open=_open,
)
