"""Devices behind the system's OpenSSH, with the user's own keys and configuration."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.device.posix import PosixTransport
from edgeq.device.process import Completed, execute
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.device.address import Address

_OPTIONS: Final = (
    "BatchMode=yes",  # a question to nobody would wait forever
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    "ControlMaster=auto",
    "ControlPersist=60",
)
_FAILED: Final = 255
"""Exit code of ssh itself, where the connection failed."""

_DATA: Final = "edgeq-data:"
_CHATTER: Final = 1 << 16
"""Bytes that login scripts may print."""

_COPY_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Complaint:
    """What ssh says, and what to do about it."""

    pattern: str
    what: str
    remedy: str


_COMPLAINTS: Final = (
    Complaint(
        "permission denied",
        "it refused the key",
        "Make `ssh {host}` work without a password first: ssh-copy-id, ssh-agent or ~/.ssh/config",
    ),
    Complaint(
        "host key verification failed|identification has changed",
        "its host key is unknown or has changed",
        "Run `ssh {host}` once by hand and check the key",
    ),
    Complaint(
        "could not resolve|name or service not known",
        "there is no host of this name",
        "Check the address",
    ),
    Complaint(
        "connection refused|timed out|no route|unreachable",
        "it cannot be reached",
        "Check that it is on, in the network, and runs an ssh server on this port",
    ),
    Complaint(
        "closed by|broken pipe|connection reset|not responding",
        "the connection was lost",
        "Repeat the command: every run starts from nothing",
    ),
)

_DISK_FULL: Final = re.compile(
    "no space left|file too large|file size limit|disc quota|disk quota", re.IGNORECASE
)


class SshTransport(PosixTransport):
    """A device behind ssh.

    Args:
        address: Its address.
        control: A folder for the socket of a shared connection.
    """

    def __init__(self, address: Address, control: Path) -> None:
        super().__init__(address.text, "${TMPDIR:-/tmp}")
        user_host, port = _split(address.host)
        self.host = user_host
        self._words = ["ssh", "-T"]
        for option in (*_OPTIONS, f"ControlPath={control}/%C"):
            self._words += ["-o", option]
        self._words += ["-p", port] if port else []
        self._target = ["--", user_host]

    def _execute(
        self, command: str, timeout: float, stdin: Path | None, stdout: Path | None
    ) -> Completed:
        """See :class:`edgeq.device.posix.PosixTransport`."""
        # The login shell may be of any kind: sh is what the text is written for.
        words = [*self._words, *self._target, f"exec sh -c {shlex.quote(command)}"]
        done = execute(words, timeout=timeout, where=self.where, stdin=stdin, stdout=stdout)
        if done.code == _FAILED:
            raise self._failed(done)
        return done

    def put(self, file: Path, path: str) -> None:
        """See :class:`edgeq.device.transport.Transport`."""
        done = self.execute(f"cat > {shlex.quote(path)}", _COPY_SECONDS, stdin=file)
        if done.code:
            full = _DISK_FULL.search(done.stderr) or done.code in (153, 128 + 25)
            raise DeviceError(
                "its disk is full" if full else f"copying to it failed: {done.complaint}",
                where=self.where,
                remedy="Free some space in the folder for temporary files there, or set TMPDIR",
            )

    def get(self, path: str, file: Path) -> None:
        """See :class:`edgeq.device.transport.Transport`."""
        command = f'printf "%s\\n" {_DATA}; cat < {shlex.quote(path)}'
        done = self.execute(command, _COPY_SECONDS, stdout=file)
        if done.code or not _cut_chatter(file):
            raise DeviceError(
                f"copying from it failed: {done.complaint}", where=self.where, remedy="Repeat it"
            )

    def close(self) -> None:
        """End the shared connection."""
        words = [*self._words, "-O", "exit", *self._target]
        with suppress(DeviceError):
            execute(words, timeout=10.0, where=self.where)

    def _failed(self, done: Completed) -> DeviceError:
        for known in _COMPLAINTS:
            if re.search(known.pattern, done.stderr, re.IGNORECASE):
                remedy = known.remedy.format(host=self.host)
                return DeviceError(known.what, where=self.where, remedy=remedy)
        return DeviceError(
            f"ssh failed: {done.complaint}",
            where=self.where,
            remedy=f"Try `ssh {self.host}` by hand",
        )


def _cut_chatter(file: Path) -> bool:
    """Remove what login scripts printed before a file's contents; whether they were found."""
    with file.open("rb") as stream:
        start = stream.read(_CHATTER).find(f"{_DATA}\n".encode())
        if start < 0:
            return False
        stream.seek(start + len(_DATA) + 1)
        with file.with_name(f"{file.name}.cut").open("wb") as to:
            shutil.copyfileobj(stream, to)
    Path(to.name).replace(file)
    return True


@contextmanager
def connected(address: Address) -> Iterator[SshTransport]:
    """A device behind ssh, over one connection."""
    # Sockets have short paths: /tmp, whatever TMPDIR says.
    base = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(prefix="eq-", dir=base, ignore_cleanup_errors=True) as control:
        transport = SshTransport(address, Path(control))
        try:
            yield transport
        finally:
            transport.close()


def _split(host: str) -> tuple[str, str | None]:
    """``user@host`` and port; an IPv6 address without its brackets."""
    found = re.fullmatch(
        r"(?P<user>[^@]+@)?(?:\[(?P<six>.+)\]|(?P<name>[^:]+))(?::(?P<port>\d+))?", host
    )
    if found is None:
        raise DeviceError("is no ssh address", where=host, remedy="Write ssh://user@host:port")
    return (found["user"] or "") + (found["six"] or found["name"]), found["port"]
