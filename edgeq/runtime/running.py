"""How long models have run in this process: what goes over samples, whoever asks for it."""

from __future__ import annotations

import threading


class RunningTime:
    """Adds up seconds from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return self._seconds

    def add(self, seconds: float) -> None:
        """Another run."""
        with self._lock:
            self._seconds += seconds


RUNNING = RunningTime()
"""Of all sessions. Reading it before and after a piece of work tells what of it was runs."""
