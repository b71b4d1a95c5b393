"""Devices that are ready to run a pack: how to get there, and what runs it there."""

from __future__ import annotations

import platform
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from edgeq.device import adb, cache, ssh
from edgeq.device.address import ARM64_CPUS, DEFAULT_CPU
from edgeq.device.pythons import find_python, make_venv
from edgeq.device.transport import LocalTransport
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgeq.device.address import Address
    from edgeq.device.transport import Transport

EMULATED_PYTHON: Final = "3.11"
"""The Python of ARM64 roots."""

QNN_RELATIVE: Final = 0.05
"""Neural processors compute in integers of their own: 1 to 2 steps of 8 bits a layer."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is ready.

    Attributes:
        address: Its address.
        transport: The way to it.
        command: What runs a pack there.
        program: Whether that is a program that only answers, so that we compare; otherwise a
            Python, which runs our runner.
        carried: A program to copy there first; the last word of ``command`` is then its name.
        emulated: Whether times say nothing.
        arguments: Additional arguments.
        processor: What an emulator emulates.
    """

    address: Address
    transport: Transport
    command: tuple[str, ...]
    program: bool = False
    carried: Path | None = None
    emulated: bool = False
    arguments: tuple[str, ...] = ()
    processor: str | None = None


@contextmanager
def ready(address: Address, *, setup: bool = False, version: str = "") -> Iterator[Device]:
    """Make a device ready.

    Args:
        address: Which one.
        setup: Whether to make a Python environment there where it has a shell.
        version: Of onnxruntime, for ``setup``.

    Raises:
        DeviceError: It cannot be reached, or lacks something.
    """
    if setup and address.scheme not in ("ssh", "adb"):
        raise DeviceError(
            "an environment is made on devices behind ssh and adb only",
            where=address.text,
            remedy="Leave out --setup"
            + (
                f"; run edgeq device setup {address.text}"
                if address.scheme in ("qemu", "wasm")
                else ""
            ),
        )
    openers: Mapping[str, Callable[[], AbstractContextManager[Device]]] = {
        "local": lambda: _local(address),
        "qemu": lambda: _emulated(address),
        "ssh": lambda: _ssh(address, version if setup else None),
        "adb": lambda: _adb(address, version if setup else None),
        "wasm": lambda: _node(address),
        "qnn": lambda: _qnn(address),
    }
    with openers[address.scheme]() as device:
        yield device


@contextmanager
def _local(address: Address) -> Iterator[Device]:
    yield Device(address, LocalTransport(address.text), (sys.executable,))


@contextmanager
def _emulated(address: Address) -> Iterator[Device]:
    if address.host == "x86-avx2":
        require_x86(address.text)
        emulator = cache.require(cache.QEMU, address.text) / "qemu-x86_64"
        command: tuple[str, ...] = (str(emulator), "-cpu", "Haswell", sys.executable)
        yield Device(
            address, LocalTransport(address.text), command, emulated=True, processor="Haswell"
        )
        return
    root = cache.require(cache.ARM64, address.text)
    emulator = cache.require(cache.QEMU, address.text) / "qemu-aarch64"
    cpu = ARM64_CPUS[address.options.get("cpu", DEFAULT_CPU)]
    transport = LocalTransport(address.text, emulated_environment(root))
    command = emulated_python(emulator, cpu, root)
    yield Device(address, transport, command, emulated=True, processor=cpu.partition(",")[0])


@contextmanager
def _ssh(address: Address, version: str | None) -> Iterator[Device]:
    with ssh.connected(address) as transport:
        given = address.options.get("python")
        python = find_python(transport, given) if version is None else make_venv(transport, version)
        yield Device(address, transport, (python,))


@contextmanager
def _adb(address: Address, version: str | None) -> Iterator[Device]:
    transport = adb.connected(address)
    if "runner" in address.options:
        carried = adb.local_runner(address)
        yield Device(address, transport, ("./runner",), program=True, carried=carried)
        return
    given = address.options.get("python")
    python = find_python(transport, given) if version is None else make_venv(transport, version)
    yield Device(address, transport, (python,))


@contextmanager
def _node(address: Address) -> Iterator[Device]:
    modules = cache.require(cache.NODE, address.text)
    yield Device(
        address,
        LocalTransport(address.text),
        ("node", "runner.mjs"),
        program=True,
        arguments=(str(modules),),
    )


@contextmanager
def _qnn(address: Address) -> Iterator[Device]:
    require_x86(address.text)
    if find_spec("onnxruntime_qnn") is None:
        raise DeviceError(
            "the simulator is not installed",
            where=address.text,
            remedy="Install it with pip install 'edgeq[qnn]'; it has the vendor's own licence",
        )
    yield Device(
        address,
        LocalTransport(address.text),
        (sys.executable,),
        emulated=True,
        arguments=("--plugin", "qnn", "--relative", str(QNN_RELATIVE)),
        processor="Hexagon HTP simulator",
    )


def emulated_python(emulator: Path, cpu: str, root: Path) -> tuple[str, ...]:
    """The words that run the Python of an ARM64 root."""
    system = root / "root"
    python = system / f"usr/bin/python{EMULATED_PYTHON}"
    return str(emulator), "-cpu", cpu, "-L", str(system), str(python)


def emulated_environment(root: Path) -> dict[str, str]:
    """The variables that it needs."""
    return {
        "PYTHONHOME": str(root / "root/usr"),
        "PYTHONPATH": str(root / "site"),
        # Compiling numpy takes longer there than running most models.
        "PYTHONDONTWRITEBYTECODE": "",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def require_x86(where: str) -> None:
    """Refuse a machine on which the emulator or simulator does not exist.

    Raises:
        DeviceError: This is not Linux on x86-64.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise DeviceError(
            f"it runs on Linux on x86-64 only, this is {platform.system()} {platform.machine()}",
            where=where,
            remedy="Use another device; edgeq device list shows which work here",
        )
