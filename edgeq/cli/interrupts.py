"""Ctrl-C and SIGTERM as a wish to stop at the next good place."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether to stop; the first signal makes it say so.

    Until it is asked for the first time there is nothing to lose, and a signal ends the run at
    once, as KeyboardInterrupt; so does a second signal.
    """
    # Elsewhere Python neither receives signals nor lets anyone ask for them.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    wish = _Wish()
    before = {each: signal.signal(each, wish.on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish.asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Wish:
    def __init__(self) -> None:
        self._listening = False
        self._wanted = False

    def asked(self) -> bool:
        """Whether to stop."""
        self._listening = True
        return self._wanted

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """See :func:`interruptible`."""
        if self._wanted or not self._listening:
            raise KeyboardInterrupt
        self._wanted = True
