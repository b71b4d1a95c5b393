"""Where a long run tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listens to a run. Every method returns at once."""

    def stage(self, name: str) -> None:
        """A stage begins; the one before it has ended."""
        ...

    def samples(self, done: int, total: int | None) -> None:
        """``done`` of ``total`` samples are through; ``total`` is None where nobody knows it."""
        ...


class Silent:
    """Listens to nothing."""

    def stage(self, name: str) -> None:
        """See :class:`Progress`."""

    def samples(self, done: int, total: int | None) -> None:
        """See :class:`Progress`."""
