"""Builds what emulated devices and the web runtime need, once, into the user's cache."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.device import cache, debian
from edgeq.device.address import ARM64_CPUS, DEFAULT_CPU
from edgeq.device.devices import (
    EMULATED_PYTHON,
    emulated_environment,
    emulated_python,
    require_x86,
)
from edgeq.device.process import execute
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.device.address import Address

_QEMU_PACKAGE: Final = f"qemu-user/{debian.RELEASE}-backports"
"""Version 10; the one of the release itself crashes where onnxruntime looks at the processor."""

_EMULATORS: Final = ("qemu-aarch64", "qemu-x86_64")

_ROOT_PACKAGES: Final = (
    "libc6",
    "libexpat1",
    "libgcc-s1",
    f"libpython{EMULATED_PYTHON}-minimal",
    f"libpython{EMULATED_PYTHON}-stdlib",
    "libstdc++6",
    f"python{EMULATED_PYTHON}-minimal",
    "zlib1g",
)
_GLIBC: Final = range(36, 16, -1)
"""Minor versions of glibc that wheels may be built for, the release's own first."""

_PLATFORMS: Final = (*(f"manylinux_2_{n}_aarch64" for n in _GLIBC), "manylinux2014_aarch64")
_SECONDS: Final = 900.0


def set_up(address: Address, runtime: Mapping[str, str], *, again: bool = False) -> dict[str, str]:
    """Build what a device needs; what is there and fits is left alone.

    Args:
        address: The device.
        runtime: Versions on this machine; the device gets the same ``onnxruntime``.
        again: Build it even if it is there.

    Returns:
        Versions of what the device now has.

    Raises:
        DeviceError: It has nothing to set up, or that failed; what was there is there still.
    """
    if address.scheme == "wasm":
        return _node(address.text, runtime, again=again)
    if address.scheme != "qemu":
        raise DeviceError(
            "it needs no setup, or one on the device itself",
            where=address.text,
            remedy="Set up qemu://arm64, qemu://x86-avx2 or wasm://node; for ssh:// and adb:// "
            "use edgeq run --setup",
        )
    try:
        if address.host == "x86-avx2":
            require_x86(address.text)
            return _qemu(address.text, again=again)
        return {**_qemu(address.text, again=again), **_arm64(address.text, runtime, again=again)}
    except OSError as error:
        raise DeviceError(
            f"setting it up failed: {error.strerror or error}",
            where=address.text,
            remedy=f"Check free space and permissions of {cache.home()}",
        ) from error


def _qemu(where: str, *, again: bool) -> dict[str, str]:
    there = cache.versions(cache.QEMU)
    if there is not None and not again:
        return dict(there)
    made_of: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="edgeq-apt-") as scratch:
        apt = debian.PrivateApt(Path(scratch) / "apt", where)
        with cache.building(cache.QEMU, made_of) as folder:
            root = Path(scratch) / "root"
            made_of |= apt.unpack([_QEMU_PACKAGE], root)
            for name in _EMULATORS:
                shutil.copy2(root / "usr/bin" / name, folder / name)
    return made_of


def _arm64(where: str, runtime: Mapping[str, str], *, again: bool) -> dict[str, str]:
    there = cache.versions(cache.ARM64)
    fits = there is not None and there.get("onnxruntime") == runtime["onnxruntime"]
    if there is not None and fits and not again:
        return dict(there)
    made_of: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="edgeq-apt-") as scratch:
        apt = debian.PrivateApt(Path(scratch) / "apt", where)
        with cache.building(cache.ARM64, made_of) as folder:
            made_of |= apt.unpack([f"{name}:arm64" for name in _ROOT_PACKAGES], folder / "root")
            made_of |= _wheels(where, runtime, Path(scratch) / "wheels", folder / "site")
            _prove(where, folder)
    return made_of


def _prove(where: str, root: Path) -> None:
    """Run the root once before anybody relies on it; that compiles what it imports, too."""
    emulator = cache.require(cache.QEMU, where) / "qemu-aarch64"
    words = emulated_python(emulator, ARM64_CPUS[DEFAULT_CPU], root)
    done = execute(
        [*words, "-c", "import numpy, onnxruntime"],
        timeout=_SECONDS,
        where=where,
        environment=emulated_environment(root),
    )
    if done.code:
        raise DeviceError(
            f"the root that was built does not run: {done.complaint}",
            where=where,
            remedy="Run the setup again later; it takes the newest packages there are",
        )


def _wheels(where: str, runtime: Mapping[str, str], downloads: Path, site: Path) -> dict[str, str]:
    """Download wheels for the emulated Python and unpack them."""
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    wanted = [f"onnxruntime=={runtime['onnxruntime']}", "numpy"]
    words = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:"]
    words += [*platforms, "--python-version", EMULATED_PYTHON, "-d", str(downloads), *wanted]
    _call(words, where, "Check the network, and that this Python has pip")
    found = {}
    for wheel in sorted(downloads.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        name, version = wheel.name.split("-")[:2]
        found[name] = version
    return found


def _node(where: str, runtime: Mapping[str, str], *, again: bool) -> dict[str, str]:
    there = cache.versions(cache.NODE)
    if there is not None and not again and there.get("for") == runtime["onnxruntime"]:
        return dict(there)
    made_of = {"for": runtime["onnxruntime"]}
    with cache.building(cache.NODE, made_of) as folder:
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        version = _install_web(folder, where, runtime["onnxruntime"])
        made_of["onnxruntime-web"] = version
    return made_of


def _install_web(folder: Path, where: str, version: str) -> str:
    """Install onnxruntime-web of a version, or the newest where npm does not have that one."""
    base = [
        "npm",
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
    ]
    same = execute(
        [*base, f"onnxruntime-web@{version}"], timeout=_SECONDS, where=where, folder=folder
    )
    if same.code:
        _call(
            [*base, "onnxruntime-web"], where, "Check that Node 18 or newer and npm are installed"
        )
    told = folder / "node_modules" / "onnxruntime-web" / "package.json"
    return str(json.loads(told.read_text(encoding="utf-8"))["version"])


def _call(words: Sequence[str], where: str, remedy: str) -> None:
    done = execute(words, timeout=_SECONDS, where=where)
    if done.code:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise DeviceError(
            f"{Path(words[0]).name} failed: {(errors or [done.complaint])[0][:300]}",
            where=where,
            remedy=remedy,
        )
