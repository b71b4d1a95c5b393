"""What a device has to be able to do; and doing it here."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeq.device.process import Completed, execute
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager


class Transport(Protocol):
    """A way to a device. Everything that fails is a DeviceError."""

    where: str

    def folder(self) -> AbstractContextManager[str]:
        """A fresh folder on the device; it and all in it are removed when the block ends."""
        ...

    def put(self, file: Path, path: str) -> None:
        """Copy a file to the device; its folder is there."""
        ...

    def get(self, path: str, file: Path) -> None:
        """Copy a file from the device."""
        ...

    def run(self, words: Sequence[str], timeout: float) -> Completed:
        """Run a program there; ``words`` reach it as they are."""
        ...


class LocalTransport:
    """This machine.

    Args:
        where: What the device is called in messages.
        environment: Variables to set for programs.
    """

    def __init__(self, where: str, environment: Mapping[str, str] | None = None) -> None:
        self.where = where
        self._environment = dict(environment or {})

    def folder(self) -> AbstractContextManager[str]:
        """See :class:`Transport`."""
        return tempfile.TemporaryDirectory(prefix="edgeq-run-", ignore_cleanup_errors=True)

    def put(self, file: Path, path: str) -> None:
        """See :class:`Transport`."""
        with self._told(path):
            try:
                os.link(file, path)  # The same bytes need no second place.
            except OSError:
                shutil.copyfile(file, path)

    def get(self, path: str, file: Path) -> None:
        """See :class:`Transport`."""
        with self._told(path):
            shutil.copyfile(path, file)

    def run(self, words: Sequence[str], timeout: float) -> Completed:
        """See :class:`Transport`."""
        return execute(words, timeout=timeout, where=self.where, environment=self._environment)

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DeviceError(
                f"{Path(path).name} cannot be copied: {error.strerror or error}",
                where=self.where,
                remedy="Check free space of the folder for temporary files (TMPDIR)",
            ) from error
