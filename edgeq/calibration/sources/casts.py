"""Which element types may be fed in place of the one that the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array

_TEXT = "OUS"
_WHOLE = "iub"


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the type holds real numbers; bfloat16 and float8 have a kind of their own."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def cast(array: Array, spec: InputSpec, where: str) -> tuple[Array, str | None]:
    """Convert an array to the model's type where that keeps what the numbers mean.

    Floats are converted to floats, and integers to integers that hold the same numbers. Integers
    are fed to a float input with their values unchanged.

    Args:
        array: Any shape, finite.
        spec: The input to feed.
        where: File or number of the sample.

    Returns:
        The array in the model's type, same shape, and a sentence if the type was another one.

    Raises:
        DataError: The conversion would lose what the numbers say.
    """
    have, want = array.dtype, spec.dtype
    if have == want or (have.kind in _TEXT and want.kind in _TEXT):
        return array, None
    if have.newbyteorder("=") == want:
        return array.astype(want), None
    if is_float(want) and is_float(have):
        return _rounded(array, spec, where), _note(have, spec)
    if is_float(want) and have.kind in _WHOLE:
        return _rounded(array, spec, where), f"{_note(have, spec)}, values unchanged: {_UNSCALED}"
    if want.kind in _WHOLE and have.kind in _WHOLE:
        return _same_numbers(array, spec, where), _note(have, spec)
    raise DataError(
        f"input {spec.name!r} holds {have} numbers, the model takes {want}",
        where=where,
        remedy=f"Convert the data to {want} the way the model was trained",
    )


_UNSCALED = "if the model was trained on normalised values, give those as floats"


def _note(have: np.dtype[Any], spec: InputSpec) -> str:
    return f"Input {spec.name!r} is given as {have} and fed as {spec.dtype}"


def _rounded(array: Array, spec: InputSpec, where: str) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        converted = array.astype(spec.dtype)
    if not np.isfinite(converted).all():
        raise _out_of_range(spec, where, array)
    return converted


def _same_numbers(array: Array, spec: InputSpec, where: str) -> Array:
    converted = array.astype(spec.dtype)
    # Comparing with Python integers avoids the float64 that NumPy meets int64 and uint64 in.
    if array.size and not (
        int(array.min()) == int(converted.min())
        and int(array.max()) == int(converted.max())
        and np.array_equal(converted.astype(array.dtype), array)
    ):
        raise _out_of_range(spec, where, array)
    return converted


def _out_of_range(spec: InputSpec, where: str, array: Array) -> DataError:
    return DataError(
        f"input {spec.name!r} holds {array.dtype} numbers from {array.min()} to {array.max()} "
        f"that {spec.dtype} cannot hold",
        where=where,
        remedy=f"Give the numbers that the model was trained on, as {spec.dtype}",
    )
