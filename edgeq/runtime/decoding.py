"""A language model that writes: a prompt at once, then token by token, each step timed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.runtime.session import Session
    from edgeq.types import Array, Sample


class Decoder:
    """Runs a language model greedily.

    Args:
        session: The model.
        feed: ``(tokens, tokens before them)`` -> inputs, with empty caches where those are 0.
        caches: Output by input that it continues; empty for a model that has to read everything
            anew for each token.
        logits: The output [batch, tokens, words].
    """

    def __init__(
        self,
        session: Session,
        feed: Callable[[Array, int], Sample],
        caches: Mapping[str, str],
        logits: str,
    ) -> None:
        self._session = session
        self._feed = feed
        self._caches = dict(caches)
        self._logits = logits
        self._tokens: Array = np.zeros((1, 0), np.int64)
        self._held: dict[str, Array] = {}

    @property
    def cache_bytes(self) -> int:
        """Bytes that the caches hold now."""
        return sum(array.nbytes for array in self._held.values())

    def read(self, prompt: Array) -> float:
        """Read a prompt, int64 [1, tokens], with nothing before it; seconds of the run."""
        self._tokens, self._held = prompt[:, :0], {}
        return self._advance(prompt)

    def write(self) -> float:
        """Write the likeliest token and read it; seconds of the run.

        Raises:
            DataError: Nothing has been read.
        """
        if not self._tokens.size:
            raise DataError("there is no prompt", remedy="Give one token or more")
        return self._advance(self._next)

    def _advance(self, tokens: Array) -> float:
        """Run on tokens behind those read so far."""
        old = self._tokens.shape[1]
        self._tokens = np.concatenate([self._tokens, tokens], axis=1)
        given, before = (tokens, old) if self._caches else (self._tokens, 0)
        sample = {**self._feed(given, before), **self._held}
        start = time.perf_counter()
        answer = self._session.run(sample, [self._logits, *self._caches.values()])
        seconds = time.perf_counter() - start
        self._held = {past: answer[present] for past, present in self._caches.items()}
        self._next = answer[self._logits][:, -1:].argmax(-1).astype(tokens.dtype)
        return seconds
