"""Devices by their addresses: ``local``, ``ssh://pi@board``, ``qemu://arm64?cpu=cortex-a53``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from edgeq.errors import DeviceError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

ARM64_CPUS: Final[Mapping[str, str]] = {
    "cortex-a53": "cortex-a53",
    "cortex-a76": "cortex-a76",
    "cortex-a710": "cortex-a710",
    # Kernels for SME read counters that the emulator does not have.
    "max": "max,sme=off",
}
"""Emulated processors: what users call them -> what the emulator does. A53: no dot product (2012);
A76: dot product (2018); A710: 8-bit matrix instructions (2021); max: all that is emulated."""

DEFAULT_CPU: Final = "max"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A kind of address.

    Attributes:
        form: How it is written.
        host: What may stand behind ``://``.
        options: What may stand behind ``?``.
    """

    form: str
    host: re.Pattern[str]
    options: frozenset[str] = frozenset()


_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"

SCHEMES: Final[Mapping[str, Scheme]] = {
    "local": Scheme("local", re.compile("")),
    "qemu": Scheme(
        "qemu://arm64[?cpu=NAME] or qemu://x86-avx2",
        re.compile("arm64|x86-avx2"),
        frozenset({"cpu"}),
    ),
    "ssh": Scheme(
        "ssh://[user@]host[:port][?python=PATH]",
        re.compile(rf"({_NAME}@)?({_NAME}|\[[0-9A-Fa-f:]+\])(:\d{{1,5}})?"),
        frozenset({"python"}),
    ),
    "adb": Scheme(
        "adb://[serial][?python=PATH|?runner=FILE]",
        re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.:-]*)?"),
        frozenset({"python", "runner"}),
    ),
    "wasm": Scheme("wasm://node", re.compile("node")),
    "qnn": Scheme("qnn://htp-sim", re.compile("htp-sim")),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a pack shall run.

    Attributes:
        text: As it was written.
        scheme: A key of :data:`SCHEMES`.
        host: What stands behind ``://``.
        options: What stands behind ``?``.
    """

    text: str
    scheme: str
    host: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        DeviceError: It is none, or has parts that could mean something else to another program.
    """
    if text == "local":
        return Address(text, "local")
    try:
        parts = urlsplit(text)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _refused(text, f"is no address: {error}") from error
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None or parts.scheme == "local":
        raise DeviceError("there is no such device", where=text, remedy=_remedy(parts.scheme))
    if parts.path not in ("", "/") or parts.fragment or not scheme.host.fullmatch(parts.netloc):
        raise _refused(text, f"is no {parts.scheme} address", scheme)
    found = dict(options)
    if len(found) != len(options) or found.keys() - scheme.options:
        raise _refused(text, "has an option that is unknown or given twice", scheme)
    for value in found.values():
        if not value or value.startswith("-") or not value.isprintable():
            raise _refused(text, "has an option with an unusable value", scheme)
    _require_cpu(text, parts.netloc, found)
    return Address(text, parts.scheme, parts.netloc, found)


def _require_cpu(text: str, host: str, options: Mapping[str, str]) -> None:
    cpu = options.get("cpu")
    if cpu is None:
        return
    if host != "arm64":
        raise _refused(text, "takes no cpu, only qemu://arm64 does")
    if cpu not in ARM64_CPUS:
        raise DeviceError(
            f"there is no emulated processor {cpu!r}", where=text, remedy=nearest(cpu, ARM64_CPUS)
        )


def _refused(text: str, what: str, scheme: Scheme | None = None) -> DeviceError:
    form = "DEVICE" if scheme is None else scheme.form
    return DeviceError(what, where=text, remedy=f"Write it as {form}")


def _remedy(scheme: str) -> str:
    known = "; ".join(each.form for each in SCHEMES.values())
    guess = nearest(scheme, SCHEMES) if scheme else ""
    return f"{guess if guess.startswith('Did') else ''} Devices: {known}".strip()
