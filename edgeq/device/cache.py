"""What ``edgeq device setup`` has built in the user's cache."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeq.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QEMU: Final = "qemu"
ARM64: Final = "arm64"
NODE: Final = "node"

_VERSIONS: Final = "versions.json"


def home() -> Path:
    """The folder of all roots: ``$XDG_CACHE_HOME/edgeq/devices``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / ".cache"
    return base / "edgeq" / "devices"


def versions(name: str) -> Mapping[str, str] | None:
    """Versions of what a root holds; None where there is no complete root."""
    try:
        found = json.loads((home() / name / _VERSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    return {str(key): str(each) for key, each in found.items()}


def require(name: str, device: str) -> Path:
    """The folder of a root that a device needs.

    Raises:
        DeviceError: It was not built.
    """
    if versions(name) is None:
        short = device.partition("?")[0]
        raise DeviceError(
            "it is not set up on this machine",
            where=device,
            remedy=f"Run edgeq device setup {short} once",
        )
    return home() / name


@contextmanager
def building(name: str, made_of: dict[str, str]) -> Iterator[Path]:
    """A folder to build a root in; it takes the root's place when the block ends well.

    Args:
        name: Of the root.
        made_of: Versions, filled in by the block.
    """
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{name}.", dir=home(), ignore_cleanup_errors=True
    ) as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        yield folder
        (folder / _VERSIONS).write_text(json.dumps(made_of, indent=1), encoding="utf-8")
        target = home() / name
        if target.exists():
            target.replace(Path(scratch) / "old")
        folder.replace(target)
