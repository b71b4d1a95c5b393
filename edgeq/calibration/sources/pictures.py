"""A folder of pictures, read as ``calib.toml`` says or as the model's input suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.sources.folders import Folder, spread
from edgeq.calibration.sources.labels import file_labels, label_assumptions
from edgeq.calibration.sources.picture_formats import picture_formats
from edgeq.calibration.sources.pixels import decode, tensor
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, picked
from edgeq.calibration.sources.settings import described, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import InputSpec

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pnm", ".gif", ".tif", ".tiff"}
)


def _recognises(data: object) -> bool:
    return isinstance(data, Folder) and bool(data.nested(SUFFIXES))


def _open(folder: Folder, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    found = folder.nested(SUFFIXES)
    files = spread(found, limit)
    settings = load_settings(folder)
    formats, assumptions = picture_formats(settings, inputs)

    def pick(index: int) -> RawSample:
        path = folder.path / files[index]
        picture = decode(path)
        arrays = {form.input: tensor(picture, form, str(path)) for form in formats}
        return RawSample(str(path), arrays)

    return Reading(
        description=f"{counted(len(found), limit, 'picture')} in {described(folder, settings)}",
        read=picked(pick, len(files)),
        length=len(files),
        pick=pick,
        ahead=True,
        assumptions=(*assumptions, *label_assumptions(folder, files)),
        labels=lambda: file_labels(folder, files),
    )


KIND = Kind(
    accepts="a folder of pictures (png, jpg, bmp, webp, ppm and others)",
    recognises=_recognises,
    open=_open,
)
