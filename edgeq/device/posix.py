"""Devices behind a remote shell: what ssh and adb have in common.

A remote shell takes one text. It is put together in this module alone, from constants and from
words that :func:`shlex.join` has quoted.
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeq.device.process import Completed

_ANSWER: Final = "edgeq-answer:"
"""Before what we want to know: login scripts print things of their own."""

_QUIET: Final = "ORT_DISABLE_TELEMETRY=1; export ORT_DISABLE_TELEMETRY; "
"""onnxruntime 1.29 and later keep a data base in the home folder and report on models otherwise."""

_FOLDER: Final = re.compile(r"/[A-Za-z0-9_./-]*edgeq\.[A-Za-z0-9]+")
_PATIENCE: Final = 60.0


class PosixTransport(ABC):
    """A device with a POSIX shell.

    Args:
        where: What the device is called in messages.
        temporary: The folder for temporary files there, as shell text of ours.
    """

    def __init__(self, where: str, temporary: str) -> None:
        self.where = where
        self._temporary = temporary

    def execute(
        self,
        command: str,
        timeout: float,
        *,
        stdin: Path | None = None,
        stdout: Path | None = None,
    ) -> Completed:
        """Have the device's shell run a text of ours."""
        return self._execute(_QUIET + command, timeout, stdin, stdout)

    @abstractmethod
    def _execute(
        self, command: str, timeout: float, stdin: Path | None, stdout: Path | None
    ) -> Completed:
        """Hand a text to a POSIX shell there, and what is in ``stdin`` to its commands."""

    @abstractmethod
    def put(self, file: Path, path: str) -> None:
        """See :class:`edgeq.device.transport.Transport`."""

    @abstractmethod
    def get(self, path: str, file: Path) -> None:
        """See :class:`edgeq.device.transport.Transport`."""

    def run(self, words: Sequence[str], timeout: float) -> Completed:
        """See :class:`edgeq.device.transport.Transport`."""
        # The shell stays, to tell which signal ended the program: ssh alone would not.
        return self.execute(f"{shlex.join(words)}; exit $?", timeout)

    @contextmanager
    def folder(self) -> Iterator[str]:
        """See :class:`edgeq.device.transport.Transport`."""
        made = self.ask(f'mktemp -d "{self._temporary}/edgeq.XXXXXXXXXX"')
        if not _FOLDER.fullmatch(made):
            raise DeviceError(
                f"it made a folder of a strange name: {made[:80]!r}",
                where=self.where,
                remedy="Check its mktemp and TMPDIR",
            )
        try:
            yield made
        except BaseException as error:
            self._remove(made, error)
            raise
        self._remove(made, None)

    def ask(self, command: str, timeout: float = _PATIENCE) -> str:
        """What a command of ours prints, without the line end.

        Raises:
            DeviceError: It failed.
        """
        done = self.execute(f'edgeq=$({command}) && printf "{_ANSWER}%s\\n" "$edgeq"', timeout)
        answers = [line for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
        if done.code or not answers:
            raise DeviceError(
                f"it does not do what it is asked: {done.complaint}",
                where=self.where,
                remedy="Check free space and permissions there, and that it has a POSIX shell",
            )
        return answers[-1].removeprefix(_ANSWER).strip()

    def _remove(self, folder: str, failed: BaseException | None) -> None:
        """Remove a folder of ours; where even that fails, say what is left."""
        try:
            done = self.execute(f"rm -rf {shlex.quote(folder)}", _PATIENCE)
            left = done.complaint if done.code else None
        except DeviceError as error:
            left = error.what
        if left is not None:
            first = f"{failed.what}; also " if isinstance(failed, DeviceError) else ""
            raise DeviceError(
                f"{first}{folder} could not be removed there: {left}",
                where=self.where,
                remedy="Remove that folder when the device can be reached again, then repeat",
            ) from failed
