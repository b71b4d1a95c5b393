"""Which devices work on this machine, and what is missing for the others."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgeq.device import cache
from edgeq.device.address import SCHEMES
from edgeq.device.devices import require_x86
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOLD = ("onnxruntime", "qemu-user")


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of device.

    Attributes:
        form: How its addresses are written.
        summary: What it is.
        missing: What to do before it works; None where it works.
        has: Versions of what it consists of.
        addresses: What ``edgeq run all`` runs; empty where there has to be a host first.
    """

    form: str
    summary: str
    missing: str | None
    has: Mapping[str, str]
    addresses: tuple[str, ...] = ()

    @property
    def concrete(self) -> bool:
        """Whether there is something to run without naming a host."""
        return bool(self.addresses)


def offers() -> tuple[Offer, ...]:
    """All kinds of devices."""
    return (
        Offer("local", "this machine", None, {"onnxruntime": version("onnxruntime")}, ("local",)),
        _root(
            "qemu://arm64[?cpu=NAME]",
            "emulated ARM64: cortex-a53 (no dot product), cortex-a76, cortex-a710 (int8 matrices), "
            "max",
            (cache.QEMU, cache.ARM64),
            tuple(f"qemu://arm64?cpu={cpu}" for cpu in ("cortex-a53", "cortex-a76", "cortex-a710")),
        ),
        _root(
            "qemu://x86-avx2",
            "emulated x86-64 without VNNI, where 8-bit sums can saturate",
            (cache.QEMU,),
            ("qemu://x86-avx2",),
        ),
        _web(),
        _program(SCHEMES["ssh"].form, "boards and gateways behind OpenSSH", "ssh"),
        _program(SCHEMES["adb"].form, "Android phones and boards", "adb"),
        _qnn(),
    )


def _root(form: str, summary: str, roots: tuple[str, ...], runs: tuple[str, ...]) -> Offer:
    has: dict[str, str] = {}
    missing = _not_x86(form) if form == "qemu://x86-avx2" else None
    for name in roots:
        found = cache.versions(name)
        if found is None:
            missing = missing or f"edgeq device setup {form.partition('[')[0]}"
        else:
            has |= found
    told = {name: each for name, each in has.items() if name in _TOLD}
    return Offer(form, summary, missing, told, runs)


def _web() -> Offer:
    found = cache.versions(cache.NODE)
    missing = None if found else "edgeq device setup wasm://node"
    if shutil.which("node") is None:
        missing = "install Node 18 or newer, and npm"
    has = {name: each for name, each in (found or {}).items() if name != "for"}
    return Offer("wasm://node", "WebAssembly, as in browsers", missing, has, ("wasm://node",))


def _program(form: str, summary: str, program: str) -> Offer:
    missing = None if shutil.which(program) else f"install the program {program}"
    return Offer(form, summary, missing, {})


def _qnn() -> Offer:
    form = "qnn://htp-sim"
    missing = _not_x86(form)
    if missing is None and find_spec("onnxruntime_qnn") is None:
        missing = "pip install 'edgeq[qnn]'"
    has = {} if missing else {"onnxruntime-qnn": version("onnxruntime-qnn")}
    return Offer(form, "simulated Qualcomm NPU, steps apart from CPUs", missing, has, (form,))


def _not_x86(form: str) -> str | None:
    try:
        require_x86(form)
    except DeviceError as error:
        return error.what
    return None
