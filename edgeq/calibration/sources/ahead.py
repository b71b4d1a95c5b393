"""Reading a few items ahead in a thread, while the caller works on the one before."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_Item = TypeVar("_Item")

AHEAD = 2
"""Items that are read before they are asked for: one evens out files that take long."""

_PATIENCE = 1.0
"""Seconds that closing waits for the item that is being read; then the thread is left to itself."""


def ahead(items: Iterator[_Item], count: int = AHEAD) -> Iterator[_Item]:
    """The items, in their order, read by one thread that is ``count`` of them ahead at most.

    What reading raises is raised where its item would have come. The thread starts with the first
    item that is asked for, and ends with the last one or when the iterator is closed or dropped.
    An interruption (Ctrl-C) reaches the caller, as signals always do, and never the thread.

    Args:
        items: Read in the thread alone, and closed there; so it should be code that does not care
            which thread runs it, and gives arrays that it does not fill again.
        count: Items that wait at most.
    """
    reader = _Reader(items, count)
    try:
        yield from reader.items()
    finally:
        reader.close()


class _Reader(Generic[_Item]):
    """The thread and what it has read."""

    def __init__(self, items: Iterator[_Item], count: int) -> None:
        self._source = items
        self._free = threading.Semaphore(count)
        self._read: SimpleQueue[tuple[bool, _Item | BaseException | None]] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="edgeq-samples", daemon=True)
        self._thread.start()

    def items(self) -> Iterator[_Item]:
        while True:
            more, found = self._read.get()
            if more:
                self._free.release()
                yield found  # type: ignore[misc]
            elif isinstance(found, BaseException):
                raise found
            else:
                return

    def close(self) -> None:
        """Have the thread end after the item that it is reading."""
        self._closed = True
        self._free.release()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            self._fill()
        except BaseException as error:
            self._read.put((False, error))
        else:
            self._read.put((False, None))

    def _fill(self) -> None:
        try:
            self._free.acquire()
            for item in self._source:
                if self._closed:
                    return
                self._read.put((True, item))
                del item
                self._free.acquire()
                if self._closed:
                    return
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
