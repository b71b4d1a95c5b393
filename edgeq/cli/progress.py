"""The progress bar, on stderr and only for people."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rich.progress

    from edgeq.progress import Progress

TITLES = {
    "load": "Loading the model",
    "prepare": "Preparing the graph",
    "calibrate": "Calibrating",
    "quantize": "Quantizing",
    "refine": "Refining",
    "tune": "Looking for what is faster",
    "frontier": "Scoring and timing",
    "budget": "Searching within the budget",
    "validate": "Comparing the outputs",
    "diagnose": "Looking for what costs accuracy",
    "latency": "Measuring latency",
    "evaluate": "Scoring",
    "device": "Running on the device",
    "expect": "Running the samples",
    "save": "Writing the model",
}


@contextmanager
def progress_bar(*, silent: bool) -> Iterator[Progress | None]:
    """A listener that draws on stderr.

    Args:
        silent: Draw nothing.

    Yields:
        The listener; None where nothing is drawn, because of ``silent`` or because stderr is no
        terminal.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield TerminalProgress(drawn)


class TerminalProgress:
    """Draws the stage that is running, with rate and time left where samples are counted.

    Args:
        drawn: What draws.
    """

    def __init__(self, drawn: rich.progress.Progress) -> None:
        self._drawn = drawn
        self._task: rich.progress.TaskID | None = None

    def stage(self, name: str) -> None:
        """See :class:`edgeq.progress.Progress`."""
        if self._task is not None:
            self._drawn.remove_task(self._task)
        self._task = self._drawn.add_task(TITLES.get(name, name), total=None, detail="")

    def samples(self, done: int, total: int | None) -> None:
        """See :class:`edgeq.progress.Progress`."""
        if self._task is None:
            return
        task = self._drawn.tasks[-1]
        elapsed = task.elapsed or 0.0
        detail = progress_text(done, total, elapsed)
        self._drawn.update(self._task, completed=done, total=total, detail=detail)


def progress_text(done: int, total: int | None, seconds: float) -> str:
    """``12 of 64, 3.1/s, 17 s left``."""
    parts = [f"{done} of {total}" if total else f"{done} samples"]
    if done and seconds > 0:
        rate = done / seconds
        parts.append(f"{rate:.3g}/s")
        if total and total > done:
            parts.append(f"{duration((total - done) / rate)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``17 s``, ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
