"""Runs programs: no shell, an end in sight, and no output that could fill the memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KEPT: Final = 1 << 16
"""Bytes of what a program prints that are kept: the last ones."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended.

    Attributes:
        code: Exit code; negative: the signal that ended it.
        stdout: The end of what it printed.
        stderr: The end of what it complained about.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The last line that says something; what ended it where it says nothing."""
        lines = [line.strip() for line in f"{self.stdout}\n{self.stderr}".splitlines()]
        said = [line for line in lines if line]
        return said[-1][:400] if said else f"exit code {self.code}"


def execute(
    words: Sequence[str],
    *,
    timeout: float,
    where: str,
    stdin: Path | None = None,
    stdout: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Completed:
    """Run a program to its end.

    Args:
        words: The program and its arguments, handed over as they are.
        timeout: Seconds after which it and its children are ended.
        where: What the device is called in messages.
        stdin: A file to feed it; nothing when None.
        stdout: A file for what it prints; kept in memory, as far as that goes, when None.
        environment: Variables to set beside those that are set.
        folder: Where it runs.

    Raises:
        DeviceError: There is no such program, or it took too long.
    """
    with contextlib.ExitStack() as stack:
        fed = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        kept: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        printed: IO[bytes] = stack.enter_context(stdout.open("wb")) if stdout else kept
        complained: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
                list(words),
                stdin=fed,
                stdout=printed,
                stderr=complained,
                env={**os.environ, **(environment or {})},
                cwd=folder,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise DeviceError(
                f"cannot run {words[0]}: {getattr(error, 'strerror', None) or error}",
                where=where,
                remedy="Install it, or put it on the PATH",
            ) from error
        _wait(process, timeout, where)
        return Completed(process.returncode, _tail(kept), _tail(complained))


def _wait(process: subprocess.Popen[bytes], timeout: float, where: str) -> None:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"it did not finish within {timeout:g} s and was stopped",
            where=where,
            remedy="Give it more time with --timeout, or pack fewer samples",
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _KEPT))
    return file.read().decode(errors="replace")
