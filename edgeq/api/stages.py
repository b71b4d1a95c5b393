"""Timing of stages, and what the run itself was like."""

from __future__ import annotations

import platform
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgeq.report.spent import Spent
from edgeq.runtime.running import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.progress import Progress


@dataclass(slots=True)
class _Meter:
    """Adds up the time of what has one name."""

    seconds: float = 0.0
    running: float = 0.0
    parts: dict[str, _Meter] = field(default_factory=dict)

    def spent(self, name: str) -> Spent:
        parts = tuple(meter.spent(part) for part, meter in self.parts.items())
        return Spent(name, self.seconds, self.running, parts)


class Stages:
    """Tells a listener which stage begins, and keeps how long each took.

    Args:
        progress: The listener.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._whole = _Meter()
        self._within = [self._whole]

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, in the order of the first begin."""
        return {name: meter.seconds for name, meter in self._whole.parts.items()}

    @property
    def spent(self) -> tuple[Spent, ...]:
        """The same with what of it was running models, and with parts."""
        return self._whole.spent("").parts

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything inside the ``with`` block belongs to the stage."""
        self._progress.stage(name)
        with self.part(name):
            yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Everything inside the ``with`` block belongs to this part of the stage around it."""
        meter = self._within[-1].parts.setdefault(name, _Meter())
        self._within.append(meter)
        start, ran = time.perf_counter(), RUNNING.seconds
        try:
            yield
        finally:
            self._within.pop()
            meter.seconds += time.perf_counter() - start
            meter.running += RUNNING.seconds - ran


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
