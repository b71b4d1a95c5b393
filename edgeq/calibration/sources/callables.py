"""Functions that make samples, given as such or as ``module:callable`` and ``FILE.py:callable``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from edgeq.calibration.sources.iterables import is_iterable, is_reader, raw_samples, user_code
from edgeq.calibration.sources.reading import Kind, Reading
from edgeq.errors import DataError
from edgeq.references import parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeq.calibration.sources.reading import InputSpec, RawSample

_RETURNS = "Return an iterable of dicts of arrays by input name"


def _is_callable(data: object) -> bool:
    return callable(data) and not is_iterable(data) and not is_reader(data)


def _open(data: Callable[[], Any], inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    name = getattr(data, "__name__", type(data).__name__)
    return _opened(data, name, inputs)


def _open_reference(text: str, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    found = parse_reference(text)
    if not _is_callable(found):
        raise DataError(
            f"it is a {type(found).__name__}, not a function",
            where=text,
            remedy=f"Name a function without arguments. {_RETURNS}",
        )
    return _opened(found, text, inputs)  # type: ignore[arg-type] # callable, as just checked


def _opened(make: Callable[[], Any], name: str, inputs: Sequence[InputSpec]) -> Reading:
    _check_arguments(make, name)

    def read() -> Iterator[RawSample]:
        made = user_code(make, name)
        if not is_iterable(made) and not is_reader(made):
            raise DataError(
                f"it returns a {type(made).__name__}, not a series of samples",
                where=name,
                remedy=_RETURNS,
            )
        yield from raw_samples(made, inputs, name)

    return Reading(description=f"samples of {name}", read=read, length=None)


def _check_arguments(make: Callable[[], Any], name: str) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        return  # Some builtins do not tell; the call will.
    try:
        signature.bind()
    except TypeError as error:
        raise DataError(
            f"it is called without arguments, but {error}",
            where=name,
            remedy="Give the arguments defaults, or wrap the function in one without arguments",
        ) from error


KIND = Kind(
    accepts="a function without arguments that returns one of those",
    recognises=_is_callable,
    open=_open,
)
REFERENCE_KIND = Kind(
    accepts="module:callable or FILE.py:callable",
    recognises=lambda data: isinstance(data, str),
    open=_open_reference,
)
