"""The JSON part of a calibration table: all that is no array."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeq.calibration.kept import KEPT_SAMPLES
from edgeq.calibration.origin import PLACES, Draw, Origin, ValueNote
from edgeq.errors import CalibrationError
from edgeq.types import QuantType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.calibration.archive import ArchiveReader
    from edgeq.calibration.origin import Places

FORMAT = "edgeq calibration table"
VERSION = 3
"""Counts up with every change that older readers do not understand; version 1 had no channels,
version 2 no numbers counted by themselves."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a table beside its numbers.

    Attributes:
        origin: What the numbers belong to.
        draw: Which samples the run reads.
        values: The observed values, in the order of the statistics.
        shards: Numbers of the shards that the table holds, ascending; (0,) of 1 is all.
        shard_count: How many there are; shard i has the samples whose index leaves the rest i.
        description: What the data was, in words.
        assumptions: What was assumed about it, sorted.
        versions: What collected, each with its versions, sorted.
    """

    origin: Origin
    draw: Draw
    values: tuple[ValueNote, ...]
    shards: tuple[int, ...]
    shard_count: int
    description: str
    assumptions: tuple[str, ...]
    versions: Mapping[str, tuple[str, ...]]

    def missing_shards(self) -> tuple[int, ...]:
        """Those that are not in the table."""
        return tuple(n for n in range(self.shard_count) if n not in self.shards)

    def difference(self, other: Facts, places: Places = PLACES) -> str | None:
        """Why the two are not of one run, in words; None if they are."""
        found = self.origin.difference(other.origin, places)
        found = found or self.draw.difference(other.draw, places)
        if found is None and self.shard_count != other.shard_count:
            found = (
                f"the number of shards is {self.shard_count} {places[0]} and "
                f"{other.shard_count} {places[1]}"
            )
        return found

    def joined(self, other: Facts) -> Facts:
        """Of both tables, in whatever order. For facts without a difference.

        All shards together are shard 0 of 1, as if nobody had split the data.
        """
        shards = tuple(sorted({*self.shards, *other.shards}))
        whole = len(shards) == self.shard_count
        names = sorted({*self.versions, *other.versions})
        return replace(
            self,
            shards=(0,) if whole else shards,
            shard_count=1 if whole else self.shard_count,
            description=min(self.description, other.description),
            assumptions=tuple(sorted({*self.assumptions, *other.assumptions})),
            versions={
                name: tuple(sorted({*self.versions.get(name, ()), *other.versions.get(name, ())}))
                for name in names
            },
        )


@dataclass(frozen=True, slots=True)
class Input:
    """An array of a kept sample: name of the input, name of the type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept sample: its index in the data and its arrays."""

    index: int
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What a manifest says.

    Attributes:
        facts: What the table is of.
        infinite: Values without statistics.
        kept: The kept samples.
        more: Those of the first samples that are not kept ones.
        first: How many first samples there are.
        complete: Whether every sample of the shards was read.
    """

    facts: Facts
    infinite: frozenset[str]
    kept: tuple[Kept, ...]
    more: tuple[Kept, ...]
    first: int
    complete: bool


def written(content: Content) -> dict[str, Any]:
    """The manifest as a JSON object."""
    facts, unsound = content.facts, content.infinite
    origin, draw = facts.origin, facts.draw
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"sha256": origin.model_sha256},
        "preparation": {"fingerprint": origin.preparation, "left_out": list(origin.left_out)},
        "target": origin.target,
        "recipe": {
            "exclude": list(origin.exclude),
            "include": list(origin.include),
            "skip_passes": list(origin.skip_passes),
        },
        "data": {
            "beginning_sha256": draw.beginning,
            "length": draw.length,
            "max_samples": draw.max_samples,
            "description": facts.description,
            "assumptions": list(facts.assumptions),
        },
        "seed": draw.seed,
        "complete": content.complete,
        "shards": {"count": facts.shard_count, "held": list(facts.shards)},
        "values": [{**asdict(note), "finite": note.name not in unsound} for note in facts.values],
        "kept": {"limit": KEPT_SAMPLES, "samples": [asdict(each) for each in content.kept]},
        "first": {"count": content.first, "more": [asdict(each) for each in content.more]},
        "versions": {name: list(each) for name, each in facts.versions.items()},
    }


def read(archive: ArchiveReader) -> Content:
    """Read the manifest of an archive.

    Raises:
        CalibrationError: It is of something else or of a newer edgeq, or an entry is wrong.
    """
    raw = archive.manifest
    if raw.get("format") != FORMAT or not isinstance(raw.get("version"), int):
        raise archive.damaged(f"its manifest does not say {FORMAT!r}")
    if not 1 <= raw["version"] <= VERSION:
        raise CalibrationError(
            f"the table has version {raw['version']} of the format, this edgeq reads {VERSION}",
            where=archive.where,
            remedy="Update edgeq, or calibrate again with the one you have",
        )
    try:
        return _content(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise archive.damaged(f"an entry of its manifest is wrong ({said})") from error


def _content(raw: Mapping[str, Any]) -> Content:
    recipe, data, shards = raw["recipe"], raw["data"], raw["shards"]
    origin = Origin(
        _text(raw["model"]["sha256"]),
        _text(raw["preparation"]["fingerprint"]),
        _texts(raw["preparation"]["left_out"]),
        _text(raw["target"]),
        *(_texts(recipe[key]) for key in ("exclude", "include", "skip_passes")),
    )
    draw = Draw(
        _text(data["beginning_sha256"]),
        _maybe(data["length"]),
        _maybe(data["max_samples"]),
        _whole(raw["seed"]),
    )
    count, held = _count(shards["count"]), tuple(map(_count, shards["held"]))
    if not held or list(held) != sorted(set(held)) or held[-1] >= count:
        raise ValueError(f"{held} are no shards of {count}")
    values = tuple(_note(entry) for entry in raw["values"])
    if len({note.name for note in values}) != len(values):
        raise ValueError("a value is listed twice")
    facts = Facts(
        origin, draw, values, held, count,
        _text(data["description"]),
        _texts(data["assumptions"]),
        {_text(name): _texts(each) for name, each in raw["versions"].items()},
    )  # fmt: skip
    if raw["kept"]["limit"] != KEPT_SAMPLES:
        raise ValueError(f"it keeps {raw['kept']['limit']!r} samples")
    return Content(
        facts,
        frozenset(_text(entry["name"]) for entry in raw["values"] if not _truth(entry["finite"])),
        tuple(_kept(entry) for entry in raw["kept"]["samples"]),
        tuple(_kept(entry) for entry in raw["first"]["more"]),
        _count(raw["first"]["count"]),
        _truth(raw["complete"]),
    )


def _note(entry: Mapping[str, Any]) -> ValueNote:
    producer = entry["producer"]
    return ValueNote(
        _text(entry["name"]),
        None if producer is None else _text(producer),
        _texts(entry["consumers"]),
        QuantType(_text(entry["type"])).value,
        _truth(entry["symmetric"]),
    )


def _kept(entry: Mapping[str, Any]) -> Kept:
    inputs = tuple(Input(_text(each["name"]), _text(each["type"])) for each in entry["inputs"])
    return Kept(_count(entry["index"]), inputs)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(_text, value))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _count(value: object) -> int:
    number = _whole(value)
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return number


def _maybe(value: object) -> int | None:
    return None if value is None else _count(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
