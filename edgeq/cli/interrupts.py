"""Ctrl-C and SIGTERM: a wish to stop at the next good place, never lost, and what it leaves."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType, TracebackType

_OUTPUTS = "edgeq.outputs"
"""Key of ``click.Context.meta``: the files of a command, and what they were before it began."""

_SOON = 0.05
"""Seconds after which whoever swallowed an interruption has returned."""


class Heeded:
    """Raises KeyboardInterrupt once more where Python swallowed it.

    What ``__del__`` raises is printed and dropped. Closing a session of a large model is such a
    place, and takes long enough for Ctrl-C to fall into it. A context manager.
    """

    def __init__(self) -> None:
        self._print = sys.unraisablehook
        self._again: threading.Timer | None = None

    def __enter__(self) -> None:
        self._print, sys.unraisablehook = sys.unraisablehook, self._on_dropped

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._print
        if self._again is not None:
            self._again.cancel()

    def _on_dropped(self, dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            self._print(dropped)
            return
        # Here it would be dropped again.
        self._again = threading.Timer(_SOON, _thread.interrupt_main)
        self._again.daemon = True
        self._again.start()


def watch(path: Path) -> None:
    """Remember an output of the running command as it is before the work."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta.setdefault(_OUTPUTS, {})[path] = _state(path)


def what_is_left(context: click.Context) -> str:
    """Which outputs of a command an interruption found written; each is, whole, or is not."""
    outputs = context.meta.get(_OUTPUTS, {})
    written = [path for path, before in outputs.items() if _state(path) != before]
    if not written:
        return "nothing was written"
    told = f"{_listed(written)} {'was' if len(written) == 1 else 'were'} written"
    missing = [path for path in outputs if path not in written]
    return f"{told}, {_listed(missing)} not" if missing else told


def _listed(paths: list[Path]) -> str:
    return " and ".join(str(path) for path in paths)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells one file from another that took its place; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


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
