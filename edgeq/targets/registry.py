"""The target profiles by name. A new target is a file beside this one and an entry here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import RecipeError, nearest
from edgeq.targets.coreml import COREML
from edgeq.targets.cpu import ARM64, ARM64_NODOT, CPU, WASM, X86_AVX2, X86_VNNI
from edgeq.targets.edge_generic import EDGE_GENERIC
from edgeq.targets.nnapi import NNAPI
from edgeq.targets.qnn import QNN_HTP
from edgeq.targets.reading import read_target
from edgeq.targets.tensorrt import TENSORRT
from edgeq.targets.xnnpack import XNNPACK

if TYPE_CHECKING:
    from edgeq.targets.profile import TargetProfile

TARGETS: tuple[TargetProfile, ...] = (
    CPU,
    X86_VNNI,
    X86_AVX2,
    ARM64,
    ARM64_NODOT,
    WASM,
    XNNPACK,
    NNAPI,
    COREML,
    QNN_HTP,
    TENSORRT,
    EDGE_GENERIC,
)


def target_named(name: str) -> TargetProfile:
    """The profile called ``name``, or the one in the file of that name if it ends in ``.toml``.

    Raises:
        RecipeError: There is none, and the nearest name is suggested; or the file is wrong.
    """
    known = {target.name: target for target in TARGETS}
    if name.lower().endswith(".toml"):
        return read_target(Path(name), known)
    if name not in known:
        raise RecipeError(f"unknown target {name!r}", where="--target", remedy=nearest(name, known))
    return known[name]
