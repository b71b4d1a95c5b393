"""Calibration tables for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.report.calibration import described, facts
from edgeq.report.elements import facts as pairs
from edgeq.report.elements import paragraphs, plain, sentences, table
from edgeq.report.text import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from edgeq.calibration.table import CalibrationTable
    from edgeq.report.calibration import ValueFacts

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_BLOCKS = ".:-=+*#@"
_WORST = 10
_NAMED = 3
_LISTED = 8


def summary(shown: CalibrationTable) -> RenderableType:
    """The table as a whole."""
    known = facts(shown)
    rows = [
        ("samples", f"{known['samples']}, {known['kept']} of them kept"),
        ("data", known["data"]),
        ("values", str(known["value_count"])),
        ("target", known["target"]),
        ("model", f"sha256 {known['model_sha256']}"),
        ("edgeq", ", ".join(known["versions"].get("edgeq", []))),
    ]
    if known["shards"]["count"] > 1:
        held = ", ".join(map(str, known["shards"]["held"]))
        rows.insert(1, ("shards", f"{held} of {known['shards']['count']}"))
    excluded = ", ".join(known["exclude"])
    if excluded:
        rows.append(("exclude", excluded))
    warnings = []
    if known["lacking"]:
        warnings.append(str(known["lacking"]))
    if known["not_finite"]:
        warnings.append(f"{_several(known['not_finite'])}: NaN or infinite in some sample")
    if known["not_computed"]:
        warnings.append(f"{_several(known['not_computed'])}: no sample computes it")
    return paragraphs(
        [
            pairs(rows),
            sentences("warning", "yellow", warnings),
            sentences("note", "dim", known["assumptions"]),
        ]
    )


def render(
    shown: CalibrationTable,
    pattern: str | None = None,
    blocks: str = BLOCKS,
    *,
    channels: bool = False,
) -> RenderableType:
    """The table with its values.

    Args:
        shown: The table.
        pattern: Only values of this name, with what each calibrator would cover.
        blocks: Eight characters of growing height for the histograms.
        channels: Whether to list the channels of every value in place of its elements.

    Raises:
        RecipeError: No value is called so.
    """
    values = described(shown, pattern)
    parts: list[RenderableType | None] = [] if pattern else [summary(shown)]
    parts.append(_channels(values) if channels else _values(values, blocks))
    if pattern is not None:
        parts += [_ranges(value) for value in values if value.ranges]
    return paragraphs([*parts, _worst(values), None if channels else _dead(values)])


def bars(counts: Sequence[int], blocks: str = BLOCKS) -> str:
    """A histogram on one line: a blank for no element, the lowest block for few."""
    highest = max(counts, default=0)
    steps = [math.ceil(count * len(blocks) / highest) if highest else 0 for count in counts]
    return "".join(blocks[step - 1] if step else " " for step in steps)


def _values(values: Sequence[ValueFacts], blocks: str) -> RenderableType:
    numbers = ("elements", "min", "max", "zeros", "outliers")
    made = table("Values", "value", *numbers, numbers=numbers)
    made.add_column("min to max", no_wrap=True)
    for value in values:
        made.add_row(
            plain(value.name),
            amount(value.count),
            _number(value.minimum),
            _number(value.maximum),
            "" if value.zero_fraction is None else f"{value.zero_fraction:.0%}",
            "" if value.outlier_ratio is None else f"{value.outlier_ratio:.1f}x",
            plain(bars(value.bars, blocks)),
        )
    return made


def _channels(values: Sequence[ValueFacts]) -> RenderableType:
    """Dead channels, and how much the ranges of the others differ."""
    numbers = ("axis", "channels", "dead", "widest")
    made = table("Channels", "value", *numbers, "which are dead", numbers=numbers)
    for value in values:
        found = value.channels
        if found is None:
            made.add_row(plain(value.name), *[""] * 5)
            continue
        which = ", ".join(map(str, found.dead[:_LISTED]))
        more = len(found.dead) - _LISTED
        made.add_row(
            plain(value.name),
            str(found.axis),
            str(found.count),
            str(len(found.dead)),
            "" if found.widest is None else f"{found.widest:.1f}x",
            which + (f" and {more} more" if more > 0 else ""),
        )
    return made


def _dead(values: Sequence[ValueFacts]) -> RenderableType | None:
    """In one sentence, which values have dead channels, most of them first."""
    having = [(value.name, value.channels) for value in values if value.channels is not None]
    ordered = sorted(having, key=lambda pair: -len(pair[1].dead) / pair[1].count)
    told = [f"{name} {len(found.dead)} of {found.count}" for name, found in ordered if found.dead]
    if not told:
        return None
    return sentences("note", "dim", [f"dead channels (--channels lists them): {_several(told)}"])


def _ranges(value: ValueFacts) -> RenderableType:
    made = table(f"Ranges of {value.name}", "calibrator", "low", "high", numbers=("low", "high"))
    source = value.producer or "input of the model"
    readers = f", read by {', '.join(value.consumers)}" if value.consumers else ""
    made.title = plain(f"Ranges of {value.name} in {value.type} ({source}{readers})")
    for name, (low, high) in (value.ranges or {}).items():
        made.add_row(plain(name), _number(low), _number(high))
    return made


def _worst(values: Sequence[ValueFacts]) -> RenderableType | None:
    """The values that eight bits are few for, worst first; of all the others what is said."""
    suffering = sorted(
        (value for value in values if value.suffers), key=lambda each: -(each.outlier_ratio or 1e30)
    )
    told = [f"{value.name}: {'; '.join(value.notes)}" for value in suffering[:_WORST]]
    if len(suffering) > _WORST:
        told.append(f"and {len(suffering) - _WORST} values more")
    still = [v for v in values if not v.suffers and any(":" in note for note in v.notes)]
    told += [f"{value.name}: {'; '.join(value.notes)}" for value in still[:_WORST]]
    return sentences("note", "yellow", told)


def _several(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
