"""Decodes a picture and makes the tensor of an input from it."""

from __future__ import annotations

import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from edgeq.calibration.sources.picture_formats import PictureFormat
    from edgeq.types import Array, FloatArray


def decode(path: Path) -> Image:
    """Read a picture upright, as its EXIF orientation says.

    Raises:
        DataError: The file is not a readable picture, or has more than 8 bits a channel.
    """
    # Importing Pillow takes a moment, and most data is of another kind.
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Damaged EXIF is no reason to refuse pixels; a bomb is refused as an error.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened)
                picture.load()
    # Pillow's decoders raise all of these on damaged files.
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(
            f"the picture cannot be read: {error}",
            where=str(path),
            remedy="Remove it or save it again",
        ) from error
    if picture.mode.startswith(("I", "F")):
        raise DataError(
            f"the picture has more than 8 bits a channel (mode {picture.mode})",
            where=str(path),
            remedy="Convert it to 8 bits, or save samples as .npy or .npz",
        )
    return picture


def tensor(picture: Image, form: PictureFormat, where: str) -> Array:
    """Make the tensor that feeds an input.

    Args:
        picture: Any size, at most 8 bits a channel.
        form: How the input is fed.
        where: File of the picture.

    Returns:
        Shape [1, C, H, W] or [1, H, W, C] by the layout, without the 1 where the input has no
        batch dimension; of the format's dtype, contiguous.

    Raises:
        DataError: The numbers do not fit into an integer dtype.
    """
    sized = _resized(_converted(picture, form.color), form)
    values = np.asarray(sized, np.float32).reshape(sized.height, sized.width, -1)
    if form.color == "BGR":
        values = values[..., ::-1]
    mean, std = np.array(form.mean, np.float32), np.array(form.std, np.float32)
    normal = (values / np.float32(form.scale) - mean) / std
    typed = _typed(_padded(normal, form), form, where)
    ordered = typed.transpose(2, 0, 1) if form.layout == "NCHW" else typed
    return np.ascontiguousarray(ordered[None] if form.batched else ordered)


def _converted(picture: Image, color: str) -> Image:
    # Pillow warns when it drops a transparent palette entry without going through RGBA.
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("L" if color == "GRAY" else "RGB")


def _resized(picture: Image, form: PictureFormat) -> Image:
    from PIL.Image import Resampling

    height, width = _target(picture, form.size)
    scaled = _scaled(picture, height, width, form.resize)
    if scaled != picture.size:
        picture = picture.resize(scaled, Resampling.BILINEAR)
    if form.resize != "crop" or picture.size == (width, height):
        return picture
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _target(picture: Image, size: tuple[int | None, int | None]) -> tuple[int, int]:
    """Height and width to reach; a single one that is given sets the other by the aspect ratio."""
    height, width = size
    if height is None and width is None:
        return picture.height, picture.width
    if height is None and width is not None:
        return max(1, round(picture.height * width / picture.width)), width
    if height is not None and width is None:
        return height, max(1, round(picture.width * height / picture.height))
    return height or 0, width or 0


def _scaled(picture: Image, height: int, width: int, resize: str) -> tuple[int, int]:
    """Width and height to scale to before cropping or padding."""
    if resize == "stretch":
        return width, height
    by_width, by_height = width / picture.width, height / picture.height
    ratio = max(by_width, by_height) if resize == "crop" else min(by_width, by_height)
    # The side that decides the ratio meets the target exactly, whatever rounding says.
    return (
        width if ratio == by_width else max(1, round(picture.width * ratio)),
        height if ratio == by_height else max(1, round(picture.height * ratio)),
    )


def _padded(values: FloatArray, form: PictureFormat) -> FloatArray:
    """Centre on a canvas of zeros, which is the mean colour after normalisation."""
    height, width = form.size
    if form.resize != "pad" or height is None or width is None:
        return values
    canvas = np.zeros((height, width, values.shape[2]), values.dtype)
    top, left = (height - values.shape[0]) // 2, (width - values.shape[1]) // 2
    canvas[top : top + values.shape[0], left : left + values.shape[1]] = values
    return canvas


def _typed(values: FloatArray, form: PictureFormat, where: str) -> Array:
    if form.dtype.kind not in "iu":
        return values.astype(form.dtype)
    limits = np.iinfo(form.dtype)
    whole = np.rint(values)
    if whole.min() < limits.min or whole.max() > limits.max:
        raise DataError(
            f"input {form.input!r} would be fed with numbers from {whole.min():g} to "
            f"{whole.max():g}, which {form.dtype} cannot hold",
            where=where,
            remedy="Set scale, mean and std in calib.toml for this type; "
            "int8 models often take scale = 1, mean = 128",
        )
    return whole.astype(form.dtype)
