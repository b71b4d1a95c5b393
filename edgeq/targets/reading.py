"""Target profiles of users: TOML files with the fields of the dataclasses.

A file is checked key by key before anything is made of it. What it does not say is as in its
``base``; rows that it has for an operator stand for all rows of the base.
"""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from edgeq.errors import RecipeError, nearest
from edgeq.targets import toml
from edgeq.targets.profile import (
    Condition,
    Execution,
    Form,
    KernelRow,
    PairSums,
    Placement,
    TargetProfile,
)
from edgeq.types import QuantType

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Reader = Callable[[object, str], Any]

_EMPTY = TargetProfile(name="", summary="a profile of yours", kernels=())


def read_target(path: Path, bases: Mapping[str, TargetProfile]) -> TargetProfile:
    """Read a profile.

    Args:
        path: A TOML file.
        bases: What ``base`` may name.

    Raises:
        RecipeError: The file cannot be read, or a key or value is wrong: it says where.
    """
    where = str(path)
    content = toml.content(path, "target profile", "targets")
    table = toml.table(content, where)
    base = _base(table, bases, where)
    toml.require_known(table, (*_PROFILE, "base", "kernels", "remove"), where)
    given = {key: _PROFILE[key](table[key], f"{where}: {key}") for key in table if key in _PROFILE}
    rows = [_row(row, f"{where}: kernels[{i}]") for i, row in enumerate(_tables(table, where))]
    kernels = _kernels(base, rows, table, where)
    given.setdefault("name", path.stem)
    if not kernels:
        raise RecipeError(
            "the profile has no operator in integers",
            where=where,
            remedy='Add a [[kernels]] table for each, or base = "cpu"',
        )
    sources = (*base.sources, f"{where}, written by its user")
    digest = hashlib.sha256(content).hexdigest()
    return replace(base, **{"sources": sources, **given}, kernels=kernels, digest=digest)


def _base(
    table: Mapping[str, object], bases: Mapping[str, TargetProfile], where: str
) -> TargetProfile:
    if "base" not in table:
        return _EMPTY
    name = toml.text(table["base"], f"{where}: base")
    if name not in bases:
        raise RecipeError(
            f"unknown base {name!r}", where=f"{where}: base", remedy=nearest(name, bases)
        )
    # Whatever the rows are taken from, what reads the model is the user's own.
    return replace(bases[name], execution=Execution.EMULATED, machines=frozenset())


def _tables(table: Mapping[str, object], where: str) -> list[object]:
    rows = table.get("kernels", [])
    if not isinstance(rows, list):
        raise RecipeError(
            "kernels must be tables", where=f"{where}: kernels", remedy="Write [[kernels]]"
        )
    return rows


def _kernels(
    base: TargetProfile, rows: list[KernelRow], table: Mapping[str, object], where: str
) -> tuple[KernelRow, ...]:
    """The rows of the file, then those of the base for other operators, but for removed ones."""
    removed = _names(table.get("remove", []), f"{where}: remove")
    for name in removed:
        if not base.rows(name):
            raise RecipeError(
                f"the base has no {name!r} to remove",
                where=f"{where}: remove",
                remedy=nearest(name, {row.op_type for row in base.kernels} or {"nothing"}),
            )
    gone = removed | {row.op_type for row in rows}
    return (*rows, *(row for row in base.kernels if row.op_type not in gone))


def _row(row: object, where: str) -> KernelRow:
    if not isinstance(row, dict):
        raise RecipeError("a kernel must be a table", where=where, remedy="Write [[kernels]]")
    toml.require_known(row, _ROW, where)
    needed = {f.name for f in fields(KernelRow) if f.default is f.default_factory is MISSING}
    for key in sorted(needed - row.keys()):
        raise RecipeError(f"{key!r} is missing", where=where, remedy=f"Write {key} = ...")
    given = {key: _ROW[key](value, f"{where}.{key}") for key, value in row.items()}
    return KernelRow(**{"source": where, **given})


def _names(value: object, where: str) -> frozenset[str]:
    return frozenset(toml.text(each, where) for each in toml.items(value, where))


def _ranks(value: object, where: str) -> frozenset[int]:
    return frozenset(toml.number(each, where) for each in toml.items(value, where))


def _entries(value: object, where: str) -> dict[str, str]:
    table = toml.subtable(value, where)
    return {key: toml.text(each, f"{where}.{key}") for key, each in table.items()}


def _attributes(value: object, where: str) -> dict[str, frozenset[str | int]]:
    found = {}
    for key, taken in toml.subtable(value, where).items():
        for each in toml.items(taken, f"{where}.{key}"):
            if isinstance(each, bool) or not isinstance(each, (str, int)):
                raise toml.wrong(each, "text or whole number", f"{where}.{key}")
        found[key] = frozenset(taken)
    return found


def _one_of(kind: type[enum.Enum]) -> Reader:
    """Members by name, in small letters with dashes."""
    known = {member.name.lower().replace("_", "-"): member for member in kind}

    def read(value: object, where: str) -> Any:
        name = toml.text(value, where)
        if name not in known:
            raise RecipeError(f"unknown {name!r}", where=where, remedy=nearest(name, known))
        return known[name]

    return read


def _type(value: object, where: str, bits: int = 8) -> QuantType:
    known = {kind.value: kind for kind in QuantType if kind.bits == bits}
    name = toml.text(value, where)
    if name not in known:
        raise RecipeError(
            f"{name!r} is no integer type of {bits} bits", where=where, remedy=nearest(name, known)
        )
    return known[name]


def _wide_type(value: object, where: str) -> QuantType:
    return _type(value, where, 16)


def _set_of(reader: Reader) -> Reader:
    return lambda value, where: frozenset(reader(each, where) for each in toml.items(value, where))


_PROFILE: dict[str, Reader] = {
    "name": toml.text,
    "summary": toml.text,
    "activation": _type,
    "activation_symmetric": toml.flag,
    "wide_activation": _wide_type,
    "weight": _type,
    "per_channel": toml.flag,
    "reduce_range": toml.flag,
    "pair_sums": _one_of(PairSums),
    "integer_bias": toml.flag,
    "minimum_opset": toml.number,
    "maximum_opset": toml.number,
    "session_entries": _entries,
    "execution": _one_of(Execution),
    "machines": _names,
    "contrib_operators": toml.flag,
    "half_kernels": toml.flag,
    "float8_kernels": toml.flag,
    "dynamic_shapes": toml.flag,
    "bodies": toml.flag,
    "slow_operators": _names,
    "float_operators": _names,
    "sources": toml.texts,
}
"""How each key of a profile is read."""

_ROW: dict[str, Reader] = {
    "op_type": toml.text,
    "placement": _one_of(Placement),
    "form": _one_of(Form),
    "needs_quantized_output": toml.flag,
    "computed_weight": _one_of(Placement),
    "dynamic_on_float": toml.flag,
    "data_ranks": _ranks,
    "weight_ranks": _ranks,
    "attributes": _attributes,
    "conditions": _set_of(_one_of(Condition)),
    "exact_sums": _set_of(_one_of(Condition)),
    "activations": _set_of(_type),
    "weight": _type,
    "per_channel": toml.flag,
    "respelled": toml.flag,
    "channel_multiple": toml.number,
    "whole_vectors": toml.flag,
    "provider": toml.text,
    "source": toml.text,
}
"""How each key of a row is read."""
