"""How pictures become the tensor of an input: what calib.toml says, and what is inferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.sources.check import shape_text
from edgeq.calibration.sources.settings import Table
from edgeq.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import Dim, InputSpec

LAYOUTS = ("NCHW", "NHWC")
COLORS = {"RGB": 3, "BGR": 3, "GRAY": 1}
RESIZES = ("stretch", "crop", "pad")
_KEYS = ("layout", "size", "color", "resize", "scale", "mean", "std", "dtype")


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """How one input is fed with pictures: ``x = (pixel / scale - mean) / std``.

    Attributes:
        input: Name of the input.
        layout: ``NCHW`` or ``NHWC``.
        batched: Whether the tensor has the batch dimension.
        size: Height and width; None where the picture's own is kept.
        color: ``RGB``, ``BGR`` or ``GRAY``.
        resize: ``stretch``, ``crop`` or ``pad``.
        scale: Divides the pixels, which are 0 to 255.
        mean: One number, or one for each channel in the order of ``color``.
        std: Likewise.
        dtype: Element type of the tensor.
    """

    input: str
    layout: str
    batched: bool
    size: tuple[int | None, int | None]
    color: str
    resize: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: np.dtype[Any]


def picture_formats(
    settings: Table, inputs: Sequence[InputSpec]
) -> tuple[tuple[PictureFormat, ...], tuple[str, ...]]:
    """Decide how pictures feed a model.

    Args:
        settings: ``calib.toml``, empty if there is none.
        inputs: Inputs of the model.

    Returns:
        A format for each input, and what was assumed, in sentences.

    Raises:
        DataError: The settings are wrong or do not reach all inputs, or the model's shape does
            not tell how to feed pictures.
    """
    formats: list[PictureFormat] = []
    assumptions: list[str] = []
    for spec, table in _tables(settings, inputs):
        chosen, assumed = _format(table, spec)
        formats.append(chosen)
        assumptions += assumed
    return tuple(formats), tuple(assumptions)


def _tables(settings: Table, inputs: Sequence[InputSpec]) -> list[tuple[InputSpec, Table]]:
    settings.only((*_KEYS, "input", "inputs"))
    by_name = {spec.name: spec for spec in inputs}
    tables = _input_tables(settings) or {_single_input(settings, inputs): settings}
    for name, table in tables.items():
        if name not in by_name:
            raise DataError(
                f"the model has no input {name!r}", where=table.where, remedy=nearest(name, by_name)
            )
    missing = [name for name in by_name if name not in tables]
    if missing:
        raise DataError(
            f"nothing says how pictures feed the input {', '.join(map(repr, missing))}",
            where=settings.where,
            remedy="Add a table [inputs.NAME] for each input that takes pictures; "
            "if one takes something else, save samples as .npz",
        )
    return [(by_name[name], table) for name, table in tables.items()]


def _input_tables(settings: Table) -> dict[str, Table]:
    """Tables ``[inputs.NAME]``; what stands above them holds for all."""
    inputs = settings.table("inputs")
    if inputs is None:
        return {}
    if "input" in settings.values:
        raise settings.wrong("input", "either input or tables [inputs.NAME]")
    common = {key: value for key, value in settings.values.items() if key != "inputs"}
    tables: dict[str, Table] = {}
    for name in inputs.values:
        own = inputs.table(name) or inputs
        own.only(_KEYS)
        tables[name] = Table({**common, **own.values}, f"{settings.where} [inputs.{name}]")
    return tables


def _single_input(settings: Table, inputs: Sequence[InputSpec]) -> str:
    named = settings.text("input")
    if named is not None:
        return named
    if len(inputs) != 1:
        raise DataError(
            f"the model has {len(inputs)} inputs: {', '.join(spec.name for spec in inputs)}",
            where=settings.where,
            remedy="Say in calib.toml how pictures feed each, one table [inputs.NAME] each; "
            "if one takes something else, save samples as .npz",
        )
    return inputs[0].name


def _format(table: Table, spec: InputSpec) -> tuple[PictureFormat, list[str]]:
    layout = table.choice("layout", LAYOUTS) or _layout(spec, table.where)
    dims = _picture_dims(spec, layout)
    size = table.pair("size") or _static(dims[1:])
    color = table.choice("color", COLORS) or ("GRAY" if dims[0] == 1 else "RGB")
    dtype = _dtype(table) or spec.dtype
    raw = dtype.kind in "iu"
    chosen = PictureFormat(
        input=spec.name,
        layout=layout,
        batched=spec.shape is None or len(spec.shape) != 3,
        size=size,
        color=color,
        resize=table.choice("resize", RESIZES) or "stretch",
        scale=_nonzero(table, "scale", (1.0 if raw else 255.0,), 1)[0],
        mean=_channels(table, "mean", 0.0, color),
        std=_nonzero(table, "std", _channels(table, "std", 1.0, color), COLORS[color]),
        dtype=dtype,
    )
    return chosen, _assumed(table, chosen)


def _layout(spec: InputSpec, where: str) -> str:
    shape = spec.shape or ()
    picture = shape if len(shape) == 3 else shape[1:]
    if len(picture) == 3 and picture[0] in (1, 3):
        return "NCHW"
    if len(picture) == 3 and picture[2] in (1, 3):
        return "NHWC"
    shown = "unknown" if spec.shape is None else shape_text(spec.shape)
    raise DataError(
        f"the shape of input {spec.name!r}, {shown}, does not tell how pictures feed it",
        where=where,
        remedy='Write a calib.toml with layout = "NCHW" or "NHWC", size = [height, width] and '
        'color = "RGB", "BGR" or "GRAY"; if the input takes no pictures, save samples as .npz',
    )


def _picture_dims(spec: InputSpec, layout: str) -> tuple[Dim, Dim, Dim]:
    """Channels, height and width as the model has them."""
    shape = spec.shape if spec.shape is not None and len(spec.shape) in (3, 4) else (None,) * 4
    first, second, third = shape[-3:]
    return (first, second, third) if layout == "NCHW" else (third, first, second)


def _static(dims: Sequence[Dim]) -> tuple[int | None, int | None]:
    height, width = (dim if isinstance(dim, int) else None for dim in dims)
    return height, width


def _dtype(table: Table) -> np.dtype[Any] | None:
    name = table.text("dtype")
    if name is None:
        return None
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "fiu":
        raise table.wrong("dtype", "the name of a NumPy number type, such as float32 or uint8")
    return dtype


def _channels(table: Table, key: str, default: float, color: str) -> tuple[float, ...]:
    numbers = table.numbers(key) or (default,)
    if len(numbers) not in (1, COLORS[color]):
        raise table.wrong(key, f"one number, or one for each of {color}")
    return numbers


def _nonzero(table: Table, key: str, default: tuple[float, ...], most: int) -> tuple[float, ...]:
    numbers = table.numbers(key) or default
    if 0 in numbers or len(numbers) > most:
        raise table.wrong(key, "a number that is not 0" if most == 1 else "numbers that are not 0")
    return numbers


def _assumed(table: Table, chosen: PictureFormat) -> list[str]:
    given = table.values
    start = f"Input {chosen.input!r}: "
    said: list[str] = []
    if "layout" not in given:
        said.append(f"the layout is taken to be {chosen.layout} from the model's shape")
    if "color" not in given:
        said.append(f"channels are taken to be in {chosen.color} order")
    if "size" not in given:
        said.append(_size_assumed(chosen))
    if "resize" not in given and "size" not in given and None not in chosen.size:
        said.append("pictures of another size are stretched")
    if "mean" not in given and "std" not in given:
        said.append(_values_assumed(chosen))
    return [f"{start}{sentence}" for sentence in said]


def _size_assumed(chosen: PictureFormat) -> str:
    height, width = chosen.size
    if height is not None and width is not None:
        return f"pictures are brought to height {height} and width {width} from the model's shape"
    if height is None and width is None:
        return "the model takes any size, so each picture keeps its own"
    side = f"height {height}" if height is not None else f"width {width}"
    return f"pictures are brought to {side} from the model's shape and keep their aspect ratio"


def _values_assumed(chosen: PictureFormat) -> str:
    if chosen.dtype.kind in "iu" and chosen.scale == 1:
        return f"pixels are fed as they are, 0 to 255 in {chosen.dtype}"
    return (
        f"pixels are divided by {chosen.scale:g} and not normalised further (mean 0, std 1); "
        "if the model was trained otherwise, say mean and std in calib.toml"
    )
