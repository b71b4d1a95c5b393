"""Fits one sample to the inputs of the model, or says why it does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.sources.casts import cast, is_float
from edgeq.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.calibration.sources.reading import Dim, InputSpec
    from edgeq.types import Array, Sample

_SWAPS = {
    "NHWC": ("NCHW", (0, 3, 1, 2)),
    "NCHW": ("NHWC", (0, 2, 3, 1)),
}


def check_sample(
    arrays: Mapping[str, Array], inputs: Sequence[InputSpec], where: str
) -> tuple[Sample, tuple[str, ...]]:
    """Make the sample exactly what the model is fed.

    Args:
        arrays: Arrays by input name, as found.
        inputs: All inputs that the model must be fed with.
        where: File or number of the sample.

    Returns:
        The sample, in the order of ``inputs``, and a sentence for each liberty taken. The
        sentences do not depend on the sample, so that each needs saying only once.

    Raises:
        DataError: A name, rank, dimension or dtype does not fit, or a number is not finite.
    """
    _check_names(arrays, inputs, where)
    sample: dict[str, Array] = {}
    notes: list[str] = []
    for spec in inputs:
        array = arrays[spec.name]
        _check_finite(array, spec, where)
        shaped, shape_note = _shaped(array, spec, where)
        sample[spec.name], cast_note = cast(shaped, spec, where)
        notes += [note for note in (shape_note, cast_note) if note]
    return sample, tuple(notes)


def _check_names(arrays: Mapping[str, Array], inputs: Sequence[InputSpec], where: str) -> None:
    wanted = [spec.name for spec in inputs]
    listing = f"The model wants: {', '.join(wanted)}"
    for name in arrays:
        if name not in wanted:
            guess = nearest(name, wanted)
            remedy = f"{guess} {listing}" if guess.startswith("Did") else listing
            raise DataError(f"the model has no input {name!r}", where=where, remedy=remedy)
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"the sample has no array for the input {', '.join(map(repr, missing))}",
            where=where,
            remedy=listing,
        )


def _check_finite(array: Array, spec: InputSpec, where: str) -> None:
    if not is_float(array.dtype):
        return
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            f"input {spec.name!r} holds {bad} of {array.size} numbers that are NaN or infinite",
            where=where,
            remedy="Remove the sample or repair how it is made",
        )


def _shaped(array: Array, spec: InputSpec, where: str) -> tuple[Array, str | None]:
    want = spec.shape
    if want is None or _fits(array.shape, want):
        return array, None
    if _fits((1, *array.shape), want):
        return array[None], f"Input {spec.name!r} is given a batch dimension of 1 in front"
    raise DataError(
        f"input {spec.name!r} has shape {shape_text(array.shape)}, "
        f"the model wants {shape_text(want)}",
        where=where,
        remedy=_shape_remedy(array.shape, want),
    )


def _fits(shape: tuple[int, ...], want: tuple[Dim, ...]) -> bool:
    return len(shape) == len(want) and all(
        not isinstance(dim, int) or dim == size for size, dim in zip(shape, want, strict=True)
    )


def _shape_remedy(got: tuple[int, ...], want: tuple[Dim, ...]) -> str:
    batched = got if len(got) == 4 else (1, *got)
    if len(batched) == 4 == len(want):
        for given, (wanted, order) in _SWAPS.items():
            if _fits(tuple(batched[axis] for axis in order), want):
                return f"The array looks like {given} where the model takes {wanted}: transpose it"
    if len(got) == len(want) and _fits(got[1:], want[1:]):
        return f"The model takes batches of {want[0]}: give each sample that many"
    if len(got) not in (len(want), len(want) - 1):
        return f"Give arrays with {len(want)} dimensions, shaped exactly as the model is fed"
    return "Shape the array exactly as the model is fed"


def shape_text(shape: Sequence[Dim]) -> str:
    """``[batch, 3, ?, 224]``."""
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
