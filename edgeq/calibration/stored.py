"""Arrays of any type that a model takes, as the .npy format can hold them without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array

_TEXT = "object"


def type_name(array: Array) -> str:
    """Name of the array's type, for :func:`restored`."""
    return array.dtype.name


def storable(array: Array) -> Array:
    """Text as fixed-width text (objects would have to be pickled), anything else as it is."""
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def restored(array: Array, name: str) -> Array:
    """The array as it was before it was stored.

    Args:
        array: As read: types that NumPy does not know itself, such as bfloat16, are void there.
        name: Name of its type.

    Raises:
        ValueError: The array cannot be of this type.
    """
    if name == _TEXT and array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "V":
        import ml_dtypes

        kind = getattr(ml_dtypes, name, None)
        if not isinstance(kind, type) or np.dtype(kind).itemsize != array.dtype.itemsize:
            raise ValueError(f"there is no type {name!r} of {array.dtype.itemsize} bytes")
        return array.view(kind)
    if array.dtype.name != name:
        raise ValueError(f"an array of {array.dtype} is called {name}")
    return array
