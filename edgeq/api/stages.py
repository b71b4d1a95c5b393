"""Timing of stages, and what the run itself was like."""

from __future__ import annotations

import platform
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.progress import Progress


class Stages:
    """Tells a listener which stage begins, and keeps how long each took.

    Args:
        progress: The listener.

    Attributes:
        seconds: Stage -> seconds, in the order of the first begin.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything inside the ``with`` block belongs to the stage."""
        self._progress.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


def peak_rss_mb() -> float:
    """Largest resident size of this process so far, in MB (10^6 bytes); 0 where nobody tells."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def environment() -> dict[str, str]:
    """Versions of what decides on results, and the machine."""
    packages = ("edgeq", "onnxruntime", "onnx", "onnx-ir", "numpy")
    found = {name: version(name) for name in packages}
    return {**found, "python": platform.python_version(), "isa": platform.machine()}
