"""Android devices behind the adb client."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.device.posix import PosixTransport
from edgeq.device.process import Completed, execute
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from edgeq.device.address import Address

_TEMPORARY: Final = "/data/local/tmp"
"""The one folder where every Android lets adb put programs and run them."""

_COPY_SECONDS: Final = 600.0
_CODE: Final = re.compile(r"edgeq-code:(\d+)\s*$")

_COMPLAINTS: Final = (
    ("unauthorized", "it does not trust this machine", "Confirm the question on its screen"),
    ("more than one", "there is more than one device", "Name one: adb://SERIAL, see adb devices"),
    ("offline", "it is offline", "Plug it in again, or run adb reconnect"),
    ("no devices|not found|no such device", "there is no such device", "See adb devices"),
    ("no space left", "its storage is full", "Free some space on it"),
    (
        "cannot connect to daemon|failed to start",
        "the adb server does not run",
        "Run adb start-server",
    ),
)


class AdbTransport(PosixTransport):
    """A device behind adb.

    Args:
        address: Its address; an empty host is the only device there is.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address.text, _TEMPORARY)
        self._words = ["adb", *(["-s", address.host] if address.host else [])]

    def _execute(
        self, command: str, timeout: float, stdin: Path | None, stdout: Path | None
    ) -> Completed:
        """See :class:`edgeq.device.posix.PosixTransport`. Files go by push and pull."""
        # Androids before 7 do not hand over exit codes.
        asked = f"sh -c {shlex.quote(command)}; echo edgeq-code:$?"
        done = self._adb("shell", asked, timeout=timeout, stdin=stdin, stdout=stdout)
        told = _CODE.search(done.stdout)
        if told is None:
            raise self._failed(done)
        printed = done.stdout[: told.start()].replace("\r\n", "\n")
        return Completed(int(told[1]), printed, done.stderr)

    def put(self, file: Path, path: str) -> None:
        """See :class:`edgeq.device.transport.Transport`."""
        done = self._adb("push", str(file), path, timeout=_COPY_SECONDS)
        if done.code:
            raise self._failed(done)

    def get(self, path: str, file: Path) -> None:
        """See :class:`edgeq.device.transport.Transport`."""
        done = self._adb("pull", path, str(file), timeout=_COPY_SECONDS)
        if done.code or not file.exists():
            raise self._failed(done)

    def _adb(
        self,
        *words: str,
        timeout: float,
        stdin: Path | None = None,
        stdout: Path | None = None,
    ) -> Completed:
        return execute(
            [*self._words, *words], timeout=timeout, where=self.where, stdin=stdin, stdout=stdout
        )

    def _failed(self, done: Completed) -> DeviceError:
        said = f"{done.stdout}\n{done.stderr}"
        for pattern, what, remedy in _COMPLAINTS:
            if re.search(pattern, said, re.IGNORECASE):
                return DeviceError(what, where=self.where, remedy=remedy)
        return DeviceError(
            f"adb failed: {done.complaint}", where=self.where, remedy="Look at adb devices"
        )


def connected(address: Address) -> AdbTransport:
    """A device behind adb.

    Raises:
        DeviceError: It is not there, or not ready.
    """
    transport = AdbTransport(address)
    transport.ask("echo ready")
    return transport


def local_runner(address: Address) -> Path:
    """The program on this machine that shall run packs on the device.

    Raises:
        DeviceError: There is no such file.
    """
    path = Path(address.options["runner"]).expanduser()
    if not path.is_file():
        raise DeviceError(
            f"there is no file {str(path)!r}",
            where=address.text,
            remedy="Give a program built for the device; README.md in a pack says what it does",
        )
    return path
