"""Finds a Python with numpy and onnxruntime on a device, or makes one."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from edgeq.device.posix import PosixTransport

_SEARCHED: Final = ("python3", "python")
_VENV: Final = '"$HOME/.cache/edgeq/venv"'
_PROBE: Final = "import numpy, onnxruntime"
_VERSION: Final = re.compile(r"[0-9A-Za-z.+]+")
_PROBE_SECONDS: Final = 120.0
_SETUP_SECONDS: Final = 1800.0


def find_python(transport: PosixTransport, given: str | None) -> str:
    """The path of an interpreter that can run packs.

    Args:
        transport: The device.
        given: The interpreter that was asked for; None to look for one.

    Raises:
        DeviceError: There is none, or it lacks numpy or onnxruntime.
    """
    if given is not None:
        done = transport.run([given, "-c", _PROBE], _PROBE_SECONDS)
        if done.code:
            raise _lacking(
                transport, f"{given} cannot import numpy and onnxruntime: {done.complaint}"
            )
        return given
    probe = shlex.quote(_PROBE)
    candidates = " ".join([f"{_VENV}/bin/python", *_SEARCHED])
    command = (
        f'for p in {candidates}; do q=$(command -v "$p") || continue; '
        f'"$q" -c {probe} >/dev/null 2>&1 && printf %s "$q" && break; done; true'
    )
    found = transport.ask(command, _PROBE_SECONDS)
    if not found:
        raise _lacking(transport, "no Python there can import numpy and onnxruntime")
    return found


def make_venv(transport: PosixTransport, version: str) -> str:
    """Make an environment with onnxruntime in the user's cache on the device; its interpreter.

    What is there already and works stays; a failed attempt leaves nothing.

    Args:
        transport: The device.
        version: Of onnxruntime: the one of this machine.

    Raises:
        DeviceError: There is no Python with venv, or the packages cannot be installed.
    """
    if not _VERSION.fullmatch(version):
        raise DeviceError(f"{version!r} is no version", where=transport.where, remedy="Set one")
    ready = shlex.quote(f"import numpy, onnxruntime as o; assert o.__version__ == '{version}'")
    command = (
        f'v={_VENV}; "$v/bin/python" -c {ready} 2>/dev/null || {{ rm -rf "$v" && '
        f'python3 -m venv "$v" && '
        f'"$v/bin/python" -m pip install -q numpy onnxruntime=={version} || '
        f'{{ rm -rf "$v"; false; }}; }} 1>&2'
    )
    done = transport.execute(command, _SETUP_SECONDS)
    if done.code:
        raise DeviceError(
            f"an environment could not be made there: {done.complaint}",
            where=transport.where,
            remedy="Check that it has python3 with venv, free space, and reaches a package index",
        )
    return find_python(transport, transport.ask(f"printf %s {_VENV}/bin/python"))


def _lacking(transport: PosixTransport, what: str) -> DeviceError:
    return DeviceError(
        what,
        where=transport.where,
        remedy="Install both there (pip install numpy onnxruntime), name an interpreter with "
        "?python=PATH, or let --setup make an environment",
    )
