"""What a calibration table belongs to, and how two of them are told apart in words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.types import Sample

_LABELS = {
    "model_sha256": "the hash of the model",
    "preparation": "the preparation of the graph",
    "left_out": "the list of passes that failed their proof",
    "target": "the target",
    "exclude": "exclude",
    "include": "include",
    "skip_passes": "skip_passes",
    "beginning": "the hash of the first samples",
    "length": "the number of samples",
    "max_samples": "max_samples",
    "seed": "the seed",
}
"""Fields in words."""

_HASH_SHOWN = 12

Places: TypeAlias = tuple[str, str]
PLACES: Final = ("in the one", "in the other")


@dataclass(frozen=True, slots=True)
class Origin:
    """What gives the numbers of a table their meaning.

    Attributes:
        model_sha256: Hash of the model as it was given, before any pass.
        preparation: Format and fingerprint of the graph whose values were observed.
        left_out: Names of the passes that failed their proof, sorted.
        target: Name of the target profile.
        exclude: The recipe's patterns of nodes that stay float, sorted.
        include: The recipe's patterns of nodes that go into integers all the same, sorted.
        skip_passes: Passes that the recipe leaves out, sorted.
    """

    model_sha256: str
    preparation: str
    left_out: tuple[str, ...]
    target: str
    exclude: tuple[str, ...]
    include: tuple[str, ...]
    skip_passes: tuple[str, ...]

    def difference(self, other: Origin, places: Places = PLACES) -> str | None:
        """The first difference, as ``the target is 'cpu' in the one and 'x' in the other``.

        Args:
            other: What to compare with.
            places: What this and the other are called.
        """
        return _difference(self, other, places)


@dataclass(frozen=True, slots=True)
class Draw:
    """Which samples are read, shards of them taken together.

    Attributes:
        beginning: Hash of the first few samples of all, whoever's shard they belong to.
        length: How many there are, where that is known beforehand.
        max_samples: How many are read at most, where that was asked for.
        seed: Of the sample that is kept.
    """

    beginning: str
    length: int | None
    max_samples: int | None
    seed: int

    def difference(self, other: Draw, places: Places = PLACES) -> str | None:
        """The first difference, as :meth:`Origin.difference` tells it."""
        return _difference(self, other, places)


@dataclass(frozen=True, slots=True)
class ValueNote:
    """Where an observed value stands in the graph.

    Attributes:
        name: Name of the value.
        producer: Op type that computes it; None for an input of the model.
        consumers: Op types that read it, sorted.
        type: Integer type that it will be quantized to, such as ``uint8``.
        symmetric: Whether zero will be in the middle of that.
    """

    name: str
    producer: str | None
    consumers: tuple[str, ...]
    type: str
    symmetric: bool


def sample_digest(samples: Iterable[Sample]) -> str:
    """SHA-256 over names, types, shapes and numbers of samples, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for sample in samples:
        for name, array in sorted(sample.items()):
            digest.update(f"{name!r} {array.dtype} {array.shape}\n".encode())
            text = array.dtype.kind in "OU"
            digest.update(repr(array.tolist()).encode() if text else array.tobytes())
        digest.update(b"\n")
    return digest.hexdigest()


def _difference(one: Any, other: Any, places: Places) -> str | None:
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if left != right:
            label = _LABELS[field.name]
            return f"{label} is {_shown(left)} {places[0]} and {_shown(right)} {places[1]}"
    return None


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(repr, value)) or "empty"
    if value is None:
        return "not given"
    text = str(value)
    head, _, digits = text.rpartition(":")
    if len(digits) == hashlib.sha256().digest_size * 2:
        return f"{head}:{digits[:_HASH_SHOWN]}..." if head else f"{digits[:_HASH_SHOWN]}..."
    return repr(value)
