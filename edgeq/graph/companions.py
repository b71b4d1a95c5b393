"""What language models read beside tokens and caches, by the names that exporters give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.types import Array


@dataclass(frozen=True, slots=True)
class Companion:
    """An input that follows from how many tokens there are.

    Attributes:
        word: Part of its name.
        whole: Whether it says something of every token there is, not of the new ones only.
        fill: Of a size and the number of old tokens, what it holds along its last axis.
    """

    word: str
    whole: bool
    fill: Callable[[int, int], Array]


def _places(size: int, old: int) -> Array:
    return np.arange(old, old + size)


COMPANIONS: Final = (
    Companion("attention_mask", whole=True, fill=lambda size, _old: np.ones(size)),
    Companion("position_ids", whole=False, fill=_places),
    Companion("cache_position", whole=False, fill=_places),
    Companion("token_type_ids", whole=False, fill=lambda size, _old: np.zeros(size)),
)


def companion_named(name: str) -> Companion | None:
    """What an input is by its name; None for tokens, caches and anything else."""
    return next((each for each in COMPANIONS if each.word in name), None)
