"""Samples made in Python: iterables, and objects with onnxruntime's ``get_next()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.sources.reading import Kind, RawSample, Reading, limited
from edgeq.errors import DataError, EdgeqError
from edgeq.references import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array

_DATA = "the calibration data"
_ACCEPTED = "Give dicts of arrays by input name"


def is_reader(data: object) -> bool:
    """Whether the data is read by calling ``get_next()`` until it returns None."""
    return callable(getattr(data, "get_next", None)) and not isinstance(data, type)


def is_iterable(data: object) -> bool:
    """Whether the data is a series of samples: iterable, or indexed from 0 with a length."""
    if isinstance(data, Mapping | str | bytes | PurePath | type) or is_reader(data):
        return False
    return isinstance(data, Iterable) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not callable(data)
    )


def open_iterable(data: Any, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    """Open an iterable of samples."""
    return Reading(
        description=f"samples of a Python {type(data).__name__}",
        read=lambda: raw_samples(data, inputs, _DATA),
        length=limited(len(data), limit) if hasattr(data, "__len__") else None,
        rewinds=not isinstance(data, Iterator),
    )


def open_reader(data: Any, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    """Open an object with ``get_next()``; how long it goes on is unknown beforehand."""
    return Reading(
        description=f"samples of the reader {type(data).__name__}",
        read=lambda: raw_samples(data, inputs, _DATA),
        length=None,
        rewinds=False,
    )


def raw_samples(data: Any, inputs: Sequence[InputSpec], where: str) -> Iterator[RawSample]:
    """Read samples from an iterable or a reader.

    Args:
        data: What :func:`is_iterable` or :func:`is_reader` is true of.
        inputs: Inputs of the model, in order.
        where: What the data is called in messages.

    Yields:
        The samples, with NumPy arrays.

    Raises:
        DataError: The user's code fails, or yields something else than samples.
    """
    index = 0
    advance = _steps(data, where)
    while (item := _next(advance, f"{where}, sample {index}")) is not None:
        place = f"{where}, sample {index}"
        yield RawSample(place, _named_arrays(item, inputs, place))
        index += 1


def _steps(data: Any, where: str) -> Callable[[], Any]:
    """A function that gives the next sample, and None after the last."""
    if is_reader(data):
        step: Callable[[], Any] = data.get_next
        return step
    by_index = not isinstance(data, Iterable)
    series = (
        (data[i] for i in range(len(data))) if by_index else user_code(lambda: iter(data), where)
    )

    def advance() -> Any:
        item = next(series, _END)
        if item is None:
            raise DataError("a sample is None", where=where, remedy=_ACCEPTED)
        return None if item is _END else item

    return advance


_END = object()


def _next(advance: Callable[[], Any], where: str) -> Any:
    return user_code(advance, where)


def user_code(call: Callable[[], Any], where: str) -> Any:
    """Call into the user's code; its failure is the user's to repair.

    Raises:
        DataError: The call raises anything.
    """
    try:
        return call()
    except EdgeqError:
        raise
    except Exception as error:
        raise DataError(
            f"the code that makes the samples raises {one_line(error)}",
            where=where,
            remedy="Run it by itself in Python to see where, and repair it",
        ) from error


def _named_arrays(item: Any, inputs: Sequence[InputSpec], where: str) -> dict[str, Array]:
    if isinstance(item, Mapping):
        return {str(name): _array(value, f"{name!r}", where) for name, value in item.items()}
    # A list of arrays is one array for each input; a list of numbers is one array.
    several = isinstance(item, tuple | list) and any(np.ndim(_plain(part)) for part in item)
    parts = list(item) if several else [item]
    if len(parts) != len(inputs):
        listing = ", ".join(spec.name for spec in inputs)
        raise DataError(
            f"the sample has {len(parts)} arrays, the model has {len(inputs)} inputs",
            where=where,
            remedy=f"{_ACCEPTED}: {listing}",
        )
    return {
        spec.name: _array(part, spec.name, where) for spec, part in zip(inputs, parts, strict=True)
    }


def _plain(value: Any) -> Any:
    return value if hasattr(value, "__array__") or isinstance(value, list | tuple) else 0


def _array(value: Any, name: str, where: str) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise DataError(
            f"{name} is not an array: {one_line(error)}", where=where, remedy=_ACCEPTED
        ) from error
    if not _holds_numbers_or_text(array):
        raise DataError(
            f"{name} is a {type(value).__name__}, not an array of numbers",
            where=where,
            remedy=_ACCEPTED,
        )
    return array


def _holds_numbers_or_text(array: Array) -> bool:
    if array.dtype.kind == "O":
        return all(isinstance(part, str) for part in array.flat)
    # Types that a package registers, such as bfloat16, are void to NumPy and yet numbers.
    return array.dtype.kind in "biufcUS" or array.dtype.isbuiltin == 2


READER_KIND = Kind(
    accepts="an object with get_next()",
    recognises=is_reader,
    open=open_reader,
)
KIND = Kind(
    accepts="an iterable of dicts of arrays by input name",
    recognises=is_iterable,
    open=open_iterable,
)
