"""Boards: what memory they have, and what published figures say an operation costs there.

A board is a TOML file; those that come with edgeq lie in ``boards/`` and are read the same way.
"""

from __future__ import annotations

import enum
from dataclasses import MISSING, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeq.errors import RecipeError, nearest
from edgeq.targets import toml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Reader = Callable[[object, str], Any]

GENERIC: Final = "generic"
"""The board where nobody says which."""

PRECISIONS: Final = ("int8", "float16", "float32")
"""Of multiply-accumulates: what ``[energy.mac]`` has a figure for."""


class WeightMemory(enum.Enum):
    """Where constants lie while a model runs."""

    FLASH = "flash"
    """Read in place."""
    RAM = "ram"
    """Copied beside the activations."""


@dataclass(frozen=True, slots=True)
class EnergyCosts:
    """Energy of single operations in picojoules.

    Attributes:
        mac: Of a multiply-accumulate, by precision.
        activation_byte: Of reading or writing a byte of an activation.
        weight_byte: Of reading a byte of a constant.
        source: Where the figures were published, and how they were put together.
    """

    mac: Mapping[str, float]
    activation_byte: float
    weight_byte: float
    source: str


@dataclass(frozen=True, slots=True)
class Board:
    """A board.

    Attributes:
        name: As given to ``--board``.
        summary: One sentence.
        weights: Where constants lie while a model runs.
        flash_bytes: What it can store; None: no limit.
        ram_bytes: What one arena can take; None: no limit.
        energy: None where there are no figures.
        sources: Where its limits come from.
    """

    name: str
    summary: str
    weights: WeightMemory
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    energy: EnergyCosts | None = None
    sources: tuple[str, ...] = ()


def board_named(name: str) -> Board:
    """The board called ``name``, or the one in the file of that name if it ends in ``.toml``.

    Raises:
        RecipeError: There is none, and the nearest name is suggested; or the file is wrong.
    """
    if name.lower().endswith(".toml"):
        return _read(toml.content(Path(name), "board", "boards"), name, Path(name).stem)
    known = {Path(file.name).stem: file for file in (files("edgeq.targets") / "boards").iterdir()}
    if name not in known:
        raise RecipeError(f"unknown board {name!r}", where="--board", remedy=nearest(name, known))
    return _read(known[name].read_bytes(), f"{name}.toml", name)


def boards() -> tuple[Board, ...]:
    """The boards that come with edgeq, by name."""
    there = (files("edgeq.targets") / "boards").iterdir()
    return tuple(board_named(name) for name in sorted(Path(file.name).stem for file in there))


def _read(content: bytes, where: str, stem: str) -> Board:
    table = toml.table(content, where)
    return Board(**{"name": stem, **_fields(table, Board, _BOARD, where)})


def _fields(
    table: Mapping[str, object], kind: type, readers: Mapping[str, Reader], where: str
) -> dict[str, Any]:
    """The fields of a dataclass, checked; ``name`` has a default of its own."""
    toml.require_known(table, readers, where)
    for field in fields(kind):
        if field.default is MISSING and field.name not in table and field.name != "name":
            raise RecipeError(
                f"{field.name!r} is missing", where=where, remedy=f"Write {field.name} = ..."
            )
    return {key: readers[key](value, f"{where}: {key}") for key, value in table.items()}


def _weights(value: object, where: str) -> WeightMemory:
    known = {each.value: each for each in WeightMemory}
    name = toml.text(value, where)
    if name not in known:
        raise RecipeError(f"unknown {name!r}", where=where, remedy=nearest(name, known))
    return known[name]


def _energy(value: object, where: str) -> EnergyCosts:
    return EnergyCosts(**_fields(toml.subtable(value, where), EnergyCosts, _ENERGY, where))


def _mac(value: object, where: str) -> dict[str, float]:
    table = toml.subtable(value, where)
    toml.require_known(table, PRECISIONS, where)
    return {key: toml.real(each, f"{where}.{key}") for key, each in table.items()}


_BOARD: Final[Mapping[str, Reader]] = {
    "name": toml.text,
    "summary": toml.text,
    "weights": _weights,
    "flash_bytes": toml.number,
    "ram_bytes": toml.number,
    "energy": _energy,
    "sources": toml.texts,
}
_ENERGY: Final[Mapping[str, Reader]] = {
    "mac": _mac,
    "activation_byte": toml.real,
    "weight_byte": toml.real,
    "source": toml.text,
}
