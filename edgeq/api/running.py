"""Running test packs on devices, and making devices ready."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgeq.device import address as addresses
from edgeq.device import offered, setup
from edgeq.device.devices import ready
from edgeq.device.reading import opened
from edgeq.device.running import RunOptions, run_pack
from edgeq.errors import DeviceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from edgeq.device.offered import Offer
    from edgeq.device.result import DeviceResult

_DECIDING = ("onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class DeviceFailure:
    """A device that could not run the pack, among several.

    Attributes:
        device: Its address.
        error: Why.
    """

    device: str
    error: DeviceError


def run(
    device: str,
    pack: str | os.PathLike[str],
    *,
    options: RunOptions | None = None,
    setup_python: bool = False,
) -> DeviceResult:
    """Run a test pack on a device.

    Args:
        device: Its address: ``local``, ``ssh://user@host``, ``qemu://arm64`` and others.
        pack: A file that :func:`edgeq.pack` wrote.
        options: How to run it.
        setup_python: Whether to make a Python environment there first.

    Raises:
        DataError: The pack cannot be used.
        DeviceError: The device cannot be reached or cannot run it.
    """
    where = addresses.parse(device)
    with ExitStack() as stack:
        checked = stack.enter_context(opened(pack))
        chosen = stack.enter_context(
            ready(where, setup=setup_python, version=version("onnxruntime"))
        )
        return run_pack(chosen, checked, options or RunOptions())


def run_all(
    pack: str | os.PathLike[str],
    *,
    options: RunOptions | None = None,
    told: Callable[[str], None] | None = None,
) -> list[DeviceResult | DeviceFailure]:
    """Run a test pack on every device that works on this machine.

    Args:
        pack: A file that :func:`edgeq.pack` wrote.
        options: How to run it.
        told: Called with the address of each device before it runs.

    Raises:
        DataError: The pack cannot be used.
    """
    found: list[DeviceResult | DeviceFailure] = []
    with opened(pack) as checked:
        for offer in offered.offers():
            if offer.missing is not None or not offer.concrete:
                continue
            for text in offer.addresses:
                if told is not None:
                    told(text)
                try:
                    with ready(addresses.parse(text)) as chosen:
                        found.append(run_pack(chosen, checked, options or RunOptions()))
                except DeviceError as error:
                    found.append(DeviceFailure(text, error))
    return found


def devices() -> tuple[Offer, ...]:
    """The kinds of devices, and what is missing for those that do not work here."""
    return offered.offers()


def set_up(device: str, *, again: bool = False) -> dict[str, str]:
    """Build what a device needs in the user's cache.

    Args:
        device: ``qemu://arm64``, ``qemu://x86-avx2`` or ``wasm://node``.
        again: Build it even if it is there.

    Returns:
        Versions of what it consists of.

    Raises:
        DeviceError: It has nothing to set up, or that failed.
    """
    here = {name: version(name) for name in _DECIDING}
    return setup.set_up(addresses.parse(device), here, again=again)
