"""How fast a language model reads and writes, and what its cache takes at some lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeq.api.measuring import input_specs
from edgeq.calibration.sources.text import companions, require_known, token_input
from edgeq.errors import ModelError, RecipeError
from edgeq.graph import loader
from edgeq.graph.cache_ports import cache_ports
from edgeq.graph.walk import name_of
from edgeq.progress import Silent
from edgeq.runtime.decoding import Decoder
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.progress import Progress
    from edgeq.types import Array, Sample

CONTEXTS: Final = (64, 256, 1024)
"""Lengths that are measured unless told."""

_LOGITS: Final = "logits"
_PROMPTS: Final = 3
"""How often a prompt is read; the median counts."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One model at one length.

    Attributes:
        read: Tokens of a prompt that it reads a second.
        written: Tokens that it writes a second behind that prompt.
        cache_bytes: What its cache takes behind prompt and written tokens; 0 without one.
    """

    read: float
    written: float
    cache_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "prefill_tokens_per_second": round(self.read, 2),
            "decode_tokens_per_second": round(self.written, 3),
            "cache_bytes": self.cache_bytes,
        }


@dataclass(frozen=True, slots=True)
class PaceRow:
    """All models at one length.

    Attributes:
        context: Tokens of the prompt.
        model: The model's.
        reference: That of the model it was measured in turn with; None without one.
    """

    context: int
    model: Pace
    reference: Pace | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What measuring showed.

    Attributes:
        rows: One a length, the shortest first.
        tokens: Tokens written at each length.
        threads: Threads of onnxruntime; 0 let it choose.
        size_bytes: Size of the model, external data included.
        reference_bytes: That of the reference.
    """

    rows: tuple[PaceRow, ...]
    tokens: int
    threads: int
    size_bytes: int
    reference_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return {
            "tokens": self.tokens,
            "threads": self.threads,
            "size_bytes": self.size_bytes,
            "reference_bytes": self.reference_bytes,
            "contexts": [
                {
                    "context": row.context,
                    "model": row.model.to_dict(),
                    "reference": None if row.reference is None else row.reference.to_dict(),
                }
                for row in self.rows
            ],
        }


def decode(
    model: object,
    tokens: int,
    *,
    reference: object = None,
    contexts: Sequence[int] = CONTEXTS,
    threads: int = 0,
    progress: Progress | None = None,
) -> Decoded:
    """Let a language model read prompts of some lengths and write behind them, and take the times.

    Prompts are random tokens, the likeliest token is written: times do not hang on the text. A
    model without a cache reads everything anew for each token.

    Args:
        model: Anything :func:`edgeq.quantize` takes, quantized or not.
        tokens: Tokens to write behind each prompt.
        reference: A model to take turns with, such as the fp32 original.
        contexts: Lengths of prompts.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Listens to the run.

    Raises:
        RecipeError: A number is no length.
        DataError: The model reads more than tokens, masks, positions and caches, or the prompt is
            longer than it takes.
        ModelError: It has no logits, or caches that cannot be told apart.
    """
    if tokens < 1 or not contexts or min(contexts) < 1:
        raise RecipeError(
            "there is nothing to read or to write",
            where="--decode or --contexts",
            remedy="Give 1 or more",
        )
    listener = progress or Silent()
    listener.stage("load")
    found = [loader.load(each) for each in (model, reference) if each is not None]
    words = _words(found[0].model)
    decoders = [_decoder(each.model, threads) for each in found]
    listener.stage("decode")
    rows, generator = [], np.random.default_rng(0)
    for done, context in enumerate(sorted(set(contexts))):
        prompt = generator.integers(0, words, (1, context))
        rows.append(_row(decoders, prompt, tokens))
        listener.samples(done + 1, len(contexts))
    sizes = [each.size_bytes for each in found]
    return Decoded(tuple(rows), tokens, threads, sizes[0], sizes[1] if len(sizes) > 1 else None)


def _row(decoders: Sequence[Decoder], prompt: Array, tokens: int) -> PaceRow:
    """Both models in turn, so that both see the same machine."""
    reads: list[list[float]] = [[] for _ in decoders]
    writes: list[list[float]] = [[] for _ in decoders]
    for _ in range(_PROMPTS):
        for decoder, seconds in zip(decoders, reads, strict=True):
            seconds.append(decoder.read(prompt))
    for _ in range(tokens):
        for decoder, seconds in zip(decoders, writes, strict=True):
            seconds.append(decoder.write())
    paces = [
        Pace(prompt.size / float(np.median(r)), 1.0 / float(np.median(w)), decoder.cache_bytes)
        for r, w, decoder in zip(reads, writes, decoders, strict=True)
    ]
    return PaceRow(prompt.size, paces[0], paces[1] if len(paces) > 1 else None)


def _decoder(model: ir.Model, threads: int) -> Decoder:
    specs = input_specs(model)
    ids = token_input(specs)
    others = [spec for spec in specs if spec is not ids]
    require_known(others)
    caches = {port.past: port.present for port in cache_ports(model)}

    def feed(tokens: Array, old: int) -> Sample:
        return {ids.name: tokens.astype(ids.dtype), **companions(others, tokens.shape[1], old)}

    session = Session(model, SessionConfig(threads))
    return Decoder(session, feed, caches, name_of(_logits(model)))


def _logits(model: ir.Model) -> ir.Value:
    outputs = list(model.graph.outputs)
    named = [value for value in outputs if value.name == _LOGITS]
    wide = [value for value in outputs if value.shape is not None and len(value.shape) == 3]
    found = named or (wide if len(wide) == 1 else [])
    if not found:
        raise ModelError(
            f"no output is called {_LOGITS!r}, and {len(wide)} have three axes",
            remedy="Name the output [batch, positions, tokens] logits",
        )
    return found[0]


def _words(model: ir.Model) -> int:
    """How many tokens the model knows; two where that cannot be read off."""
    shape = _logits(model).shape
    last = None if shape is None else shape[-1]
    return last if isinstance(last, int) else 2
