"""Debian packages, unpacked into a folder: no root rights, nothing installed.

apt gets a configuration of its own. Where packages come from is taken from the system's.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.device.process import execute
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.device.process import Completed

RELEASE: Final = "bookworm"
"""The release that roots are made of, whatever the host's: it fits Python 3.11 wheels."""

_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SECONDS: Final = 900.0
_PACKAGE: Final = re.compile(r"(?P<name>[^_]+)_(?P<version>[^_]+)_[^_]+\.deb")


class PrivateApt:
    """apt with state of its own.

    Args:
        folder: For its state; empty.
        where: What the device is called in messages.

    Raises:
        DeviceError: This is no Debian, or its packages cannot be reached.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._where = where
        self._folder = folder
        for each in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / each).mkdir(parents=True)
        suites = (RELEASE, f"{RELEASE}-backports")
        signed = f"[signed-by={_KEYRING}] " if Path(_KEYRING).exists() else ""
        lines = [f"deb {signed}{_archive(where)} {suite} main\n" for suite in suites]
        (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
        self._configuration = _configuration(folder)
        self._call("apt-get", "-qq", "update")

    def unpack(self, packages: Sequence[str], into: Path) -> dict[str, str]:
        """Download packages and unpack them.

        Args:
            packages: As apt names them: ``libc6:arm64``, ``qemu-user/bookworm-backports``.
            into: The folder that stands for ``/``.

        Returns:
            Package -> version.
        """
        debs = self._folder / "debs"
        self._call("apt-get", "-qq", "download", *packages, folder=debs)
        found = {}
        for deb in sorted(debs.glob("*.deb")):
            self._call("dpkg", "-x", str(deb), str(into))
            named = _PACKAGE.fullmatch(deb.name)
            if named is not None:
                found[named["name"]] = named["version"].replace("%3a", ":")
            deb.unlink()
        return found

    def _call(self, program: str, *words: str, folder: Path | None = None) -> Completed:
        options = self._configuration if program.startswith("apt") else ()
        done = execute(
            [program, *options, *words],
            timeout=_SECONDS,
            where=self._where,
            folder=folder,
            environment={"LC_ALL": "C"},
        )
        if done.code:
            raise DeviceError(
                f"{program} failed: {_first_error(done)}",
                where=self._where,
                remedy="Check the network and the free space, then run the setup again",
            )
        return done


def architecture() -> str:
    """This machine's architecture as Debian calls it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _configuration(folder: Path) -> tuple[str, ...]:
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    for each in sorted({architecture(), "arm64"}):
        words += ["-o", f"APT::Architectures::={each}"]
    return tuple(words)


def _archive(where: str) -> str:
    """The archive that the system's packages come from."""
    release = _codename()
    if release is None:
        raise DeviceError(
            "its root is made of Debian packages, and this is no Debian",
            where=where,
            remedy="Run it on Debian or in a Debian container, or use real hardware over ssh://",
        )
    form = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    done = execute(
        ["apt-get", "indextargets", "--no-release-info", "--format", form, "Created-By: Packages"],
        timeout=60.0,
        where=where,
    )
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 2]
    for address, suite, component in rows:
        if suite in (release, "stable", "oldstable") and component == "main":
            return address
    raise DeviceError(
        f"apt has no source of {release} main",
        where=where,
        remedy="Add Debian's own archive to /etc/apt/sources.list",
    )


def _codename() -> str | None:
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return None
    return told.get("VERSION_CODENAME") if told.get("ID") == "debian" else None


def _first_error(done: Completed) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
    return lines[0].removeprefix("E: ")[:300] if lines else done.complaint
