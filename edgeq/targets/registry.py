"""The target profiles by name. A new target is a file beside this one and an entry here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import RecipeError, nearest
from edgeq.targets.cpu import CPU

if TYPE_CHECKING:
    from edgeq.targets.profile import TargetProfile

TARGETS: tuple[TargetProfile, ...] = (CPU,)


def target_named(name: str) -> TargetProfile:
    """The profile called ``name``.

    Raises:
        RecipeError: There is none; the nearest name is suggested.
    """
    known = {target.name: target for target in TARGETS}
    if name not in known:
        raise RecipeError(f"unknown target {name!r}", where="--target", remedy=nearest(name, known))
    return known[name]
