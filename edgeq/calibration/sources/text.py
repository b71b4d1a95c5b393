"""Plain text, cut into windows of tokens by the tokenizer of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.calibration.sources.check import shape_text
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, limited, picked
from edgeq.errors import DataError, RecipeError, UnsupportedError
from edgeq.graph.companions import companion_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import Array, IntArray

SUFFIX: Final = ".txt"
TOKENIZER_FILE: Final = "tokenizer.json"
WINDOW: Final = 256
"""Tokens of a window where the model takes any number."""

_NEXT: Final = "next"
"""The label that :mod:`edgeq.metrics.language` reads."""

_TOKENS: Final = "input_ids"
_CACHE_RANK: Final = 4
_SAVE: Final = "Save the samples as .npz with an array for each input"


@dataclass(frozen=True, slots=True)
class TextData:
    """Text, and what turns it into what a language model reads.

    Attributes:
        path: The text, UTF-8.
        tokenizer: The file of the tokenizer.
        window: Tokens of a sample; None for as many as the model takes, or :data:`WINDOW`.
    """

    path: Path
    tokenizer: Path
    window: int | None = None


def with_tokenizer(
    sources: Sequence[object],
    model: object,
    tokenizer: str | Path | None = None,
    window: int | None = None,
) -> tuple[object, ...]:
    """Data as it is given; where that is a text file, the text with its tokenizer.

    Args:
        sources: What samples are to be read from.
        model: What the data is for; a tokenizer may lie beside its file.
        tokenizer: The file of the tokenizer; None for ``tokenizer.json`` beside the model.
        window: Tokens of a sample.

    Raises:
        RecipeError: A text has no tokenizer, or there is no text to encode.
    """
    texts = [_is_text(data) for data in sources]
    if not any(texts) and (tokenizer is not None or window is not None):
        raise RecipeError(
            "no data is text",
            where="--tokenizer or --window",
            remedy="Leave it out, or give a file NAME.txt as data",
        )
    return tuple(
        TextData(Path(str(data)), _tokenizer(data, model, tokenizer), window) if is_text else data
        for data, is_text in zip(sources, texts, strict=True)
    )


def _is_text(data: object) -> bool:
    return isinstance(data, str | Path) and Path(data).suffix.lower() == SUFFIX


def _tokenizer(data: object, model: object, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    beside = Path(model).parent / TOKENIZER_FILE if isinstance(model, str | Path) else None
    if beside is not None and beside.is_file():
        return beside
    raise RecipeError(
        "text needs the tokenizer of the model"
        + ("" if beside is None else f", and there is no {TOKENIZER_FILE} beside the model"),
        where=str(data),
        remedy=f"Give --tokenizer FILE: the {TOKENIZER_FILE} that the model was published with",
    )


def _open(data: TextData, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    tokens = token_input(inputs, data.path)
    fixed = tokens.shape[1] if tokens.shape is not None else None
    if isinstance(fixed, int) and data.window not in (None, fixed):
        raise RecipeError(
            f"the model takes windows of {fixed} tokens, not of {data.window}",
            where="--window",
            remedy="Leave it out",
        )
    window = fixed if isinstance(fixed, int) else data.window or WINDOW
    others = [spec for spec in inputs if spec is not tokens]
    require_known(others, data.path)
    encoded = _encoded(data)
    window = window if isinstance(fixed, int) else min(window, len(encoded) - 1)
    found = (len(encoded) - 1) // window if window > 0 else 0
    if found < 1:
        raise DataError(
            f"there are {len(encoded)} tokens, too few for a window and what follows it",
            where=str(data.path),
            remedy="Give a longer text",
        )
    length = limited(found, limit)

    def pick(index: int) -> RawSample:
        start = index * window
        fed = {tokens.name: encoded[None, start : start + window], **companions(others, window)}
        return RawSample(f"{data.path} window {index}", fed)

    follows = encoded[1 : 1 + length * window].reshape(length, window)
    empty = [spec.name for spec in others if len(spec.shape or ()) == _CACHE_RANK]
    return Reading(
        description=f"{counted(found, limit, 'window')} of {window} tokens in {data.path}",
        read=picked(pick, length),
        length=length,
        pick=pick,
        assumptions=_assumed(empty),
        labels=lambda: {_NEXT: follows},
    )


def token_input(inputs: Sequence[InputSpec], where: Path | None = None) -> InputSpec:
    """The input that takes tokens, one row of them.

    Raises:
        DataError: No input, or more than one, could be it, or it takes several rows only.
    """
    whole = [spec for spec in inputs if spec.dtype.kind in "iu" and len(spec.shape or ()) == 2]
    named = [spec for spec in whole if spec.name == _TOKENS]
    found = named or (whole if len(whole) == 1 else [])
    if not found:
        raise DataError(
            f"no input [batch, tokens] is called {_TOKENS!r}, and {len(whole)} hold integers",
            where=None if where is None else str(where),
            remedy=_SAVE,
        )
    batch = (found[0].shape or (None,))[0]
    if isinstance(batch, int) and batch != 1:
        raise DataError(
            f"the model takes batches of {batch}, and text is cut into single windows",
            where=None if where is None else str(where),
            remedy=_SAVE,
        )
    return found[0]


def require_known(others: Sequence[InputSpec], where: Path | None = None) -> None:
    """Make sure that :func:`companions` knows what to fill in.

    Raises:
        DataError: It does not.
    """
    for spec in others:
        if not (_filled(spec.name) or _starts_empty(spec)):
            shape = "of unknown rank" if spec.shape is None else shape_text(spec.shape)
            raise DataError(
                f"text says nothing about input {spec.name!r} {shape}",
                where=None if where is None else str(where),
                remedy=_SAVE,
            )


def _filled(name: str) -> bool:
    return companion_named(name) is not None


def _starts_empty(spec: InputSpec) -> bool:
    """Whether it is a cache, [batch, heads, tokens so far, channels], that may hold nothing yet."""
    shape = spec.shape or ()
    return len(shape) == _CACHE_RANK and not isinstance(shape[2], int)


def companions(others: Sequence[InputSpec], new: int, old: int = 0) -> dict[str, Array]:
    """What a decoder reads beside tokens, with empty caches.

    Args:
        others: All inputs but the tokens.
        new: Tokens that are fed.
        old: Tokens before them, whose caches the caller puts in.
    """
    return {spec.name: _companion(spec, new, old) for spec in others}


def _companion(spec: InputSpec, new: int, old: int) -> Array:
    found = companion_named(spec.name)
    if found is not None:
        told = found.fill(old + new if found.whole else new, old).astype(spec.dtype)
        return told if len(spec.shape or ()) == 1 else told[None]
    batch, heads, _, channels = spec.shape or ()
    known = [size if isinstance(size, int) else 1 for size in (batch, heads, channels)]
    return np.zeros((known[0], known[1], 0, known[2]), spec.dtype)


def _assumed(empty: Sequence[str]) -> tuple[str, ...]:
    if not empty:
        return ()
    return (f"{len(empty)} caches ({empty[0]} and on) are empty: windows do not see each other",)


def _encoded(data: TextData) -> IntArray:
    """All tokens of the text, int64; what a tokenizer adds around a sentence is left out."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UnsupportedError(
            "text as data needs the package tokenizers",
            where=str(data.path),
            remedy="pip install 'edgeq[text]', or save the tokens as .npz",
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(data.tokenizer))
    except Exception as error:  # the package raises Exception itself
        raise DataError(
            f"the tokenizer cannot be read: {error}",
            where=str(data.tokenizer),
            remedy=f"Give the {TOKENIZER_FILE} that the model was published with",
        ) from error
    try:
        text = data.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the text cannot be read: {error}",
            where=str(data.path),
            remedy="Give a file of UTF-8 text",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)


KIND = Kind(
    accepts="a .txt file beside a tokenizer",
    recognises=lambda data: isinstance(data, TextData),
    open=_open,
)
