"""The user's choices, read from the command line, a TOML file or keyword arguments."""

from __future__ import annotations

import difflib
import fnmatch
import json
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import RecipeError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMES = ("int8", "a16w8", "w8", "w4", "w2", "dynamic", "fp16", "bf16", "fp8")
"""The schemes that work today."""

CONVERTED_SCHEMES = ("w8", "w4", "w2", "dynamic", "fp16", "bf16", "fp8")
"""Those that take no calibrator: one conversion, and nothing to search for."""

FLOAT_SCHEMES = ("fp16", "bf16", "fp8")
"""Those whose weights are narrower floats, by operators of the ONNX standard."""

DATA_FREE_SCHEMES = tuple(scheme for scheme in CONVERTED_SCHEMES if scheme != "fp8")
"""Those that find no ranges of activations, and so need no samples."""

WEIGHTS = ("minmax", "mse")
"""How the scales of weights are found: all weights covered, or the least squared error."""

PAIRS = ("auto", "full", "narrow", "unsigned")
"""What is done about weights of which two products can saturate."""

HALF = "fp16"
FLOAT_TYPES = ("fp32", HALF)
"""What is left float beside integers: as it was, or in float16."""

NAMED = {"weights": WEIGHTS, "pairs": PAIRS, "float_type": FLOAT_TYPES}
"""The choices that are one of some names."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the user wants of a quantization, with the defaults of the command line.

    Attributes:
        calibrator: ``NAME[:key=value,...]``, or ``auto``.
        exclude: Patterns (``*`` and ``?``) of node names and op types that stay float.
        include: Patterns of node names and op types to put into integers although the target
            profile calls their kernel costly.
        skip_passes: Names of preparation passes to leave out.
        skip_steps: Names of recovery steps not to try.
        steps: Names of the recovery steps to take where nothing is searched for.
        search: Whether calibrators, steps and layers in float are tried against each other;
            without it everything is done as it stands here.
        weights: How the scales of weights are found, channel by channel: ``minmax`` covers all,
            ``mse`` takes those of the least squared error.
        left_float: Names of nodes, not patterns, that a search has left float; they stay so where
            nothing is searched for. Unlike with ``exclude`` all else is done as if they did not.
        pairs: What is done about weights of which two products can saturate on x86 without VNNI:
            ``full`` keeps 8 bits, ``narrow`` raises scales, ``unsigned`` stores uint8; ``auto``
            takes what the target and the accuracy allow.
        integer_for_speed: Names of nodes, as of ``include``, that a search has put into integers in
            the end because that is faster.
        float_for_speed: Names of nodes that a search has left float in the end because that is
            faster.
        seed: Seed of the sample of the data that is kept, which steps learn from; None for 0, or
            for that of a calibration table.
        float_type: ``fp16`` has what is left float beside integers in float16: computed where the
            target does that, else stored. ``fp32`` leaves it as it is.
    """

    calibrator: str = "auto"
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    skip_passes: tuple[str, ...] = ()
    skip_steps: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    search: bool = True
    weights: str = "minmax"
    left_float: tuple[str, ...] = ()
    integer_for_speed: tuple[str, ...] = ()
    float_for_speed: tuple[str, ...] = ()
    seed: int | None = None
    pairs: str = "auto"
    float_type: str = "fp32"

    def excludes(self, node: str, op_type: str) -> bool:
        """Whether the user wants this node float."""
        return _matches(self.exclude, node, op_type)

    def includes(self, node: str, op_type: str) -> bool:
        """Whether the user asked for this node in integers."""
        return _matches(self.include, node, op_type)

    def with_changes(self, **changes: Any) -> Recipe:
        """A copy with some choices replaced; None leaves a choice as it is."""
        given = {key: value for key, value in changes.items() if value is not None}
        return replace(self, **given)

    def require_matches(self, nodes: Iterable[tuple[str, str]]) -> None:
        """Make sure that every pattern means something: a choice is never silently ignored.

        Args:
            nodes: Name and op type of every node.

        Raises:
            RecipeError: A pattern matches nothing; the nearest name is suggested.
        """
        known = list(nodes)
        for pattern in self.without_effect(known):
            names = {name for name, _ in known} | {op_type for _, op_type in known}
            raise RecipeError(
                f"pattern {pattern!r} matches no node name and no operator of the model",
                where="exclude or include",
                remedy=_suggest(pattern, names),
            )

    def without_effect(self, nodes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """The patterns of ``exclude`` and ``include`` that match none of the nodes.

        Args:
            nodes: Name and op type of every node.
        """
        known = list(nodes)
        return tuple(
            pattern
            for pattern in (*self.exclude, *self.include)
            if not any(_matches((pattern,), name, op_type) for name, op_type in known)
        )


def _matches(patterns: tuple[str, ...], node: str, op_type: str) -> bool:
    # Exporters put brackets into names: only * and ? are wild.
    literal = [pattern.replace("[", "[[]") for pattern in patterns]
    return any(fnmatch.fnmatchcase(text, p) for p in literal for text in (node, op_type))


def _suggest(pattern: str, names: set[str]) -> str:
    close = difflib.get_close_matches(pattern, sorted(names), n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}edgeq inspect MODEL shows the operators, edgeq quantize the names of layers"


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file whose keys are the fields of :class:`Recipe`.

    Raises:
        RecipeError: The file is missing or no TOML, or a key or type is wrong.
    """
    where = str(path)
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"cannot read the recipe: {error.strerror}", where=where, remedy="Check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"not a TOML file: {error}", where=where, remedy="Mend the line"
        ) from error
    known = {field.name for field in fields(Recipe)}
    for key in table:
        if key not in known:
            raise RecipeError(f"unknown key {key!r}", where=where, remedy=nearest(key, known))
    changes = {key: _checked(key, value, where) for key, value in table.items()}
    return Recipe().with_changes(**changes)


def recipe_text(recipe: Recipe, heading: Iterable[str] = ()) -> str:
    """A recipe as the TOML that :func:`load_recipe` reads; what is as by default is left out.

    Args:
        recipe: The choices.
        heading: Lines of comment above them.
    """
    lines = [f"# {printed}" for line in heading for printed in line.splitlines()]
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if value != field.default:
            lines.append(f"{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: str | bool | int | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return "[\n" + "".join(f"    {_toml(item)},\n" for item in value) + "]"
    # TOML has the strings of JSON, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(key: str, value: Any, where: str) -> str | bool | int | tuple[str, ...]:
    if key == "seed":
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise RecipeError(
            f"{key} must be a number from 0 on, not {value!r}", where=where, remedy="Write seed = 0"
        )
    if key == "search":
        if isinstance(value, bool):
            return value
        raise RecipeError(
            f"{key} must be true or false, not {value!r}",
            where=where,
            remedy="Write search = false to have everything done as the recipe says",
        )
    if key in NAMED:
        known = NAMED[key]
        if value in known:
            return str(value)
        raise RecipeError(
            f"{key} must be one of {', '.join(known)}, not {value!r}",
            where=where,
            remedy=f'Write {key} = "{known[0]}"',
        )
    if key == "calibrator":
        if isinstance(value, str):
            return value
        raise RecipeError(
            f"{key} must be a text, not {value!r}", where=where, remedy='Write calibrator = "auto"'
        )
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise RecipeError(
        f"{key} must be a list of texts, not {value!r}",
        where=where,
        remedy=f'Write {key} = ["pattern", ...]',
    )
