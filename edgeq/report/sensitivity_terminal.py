"""Where accuracy is lost, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.report.calibration_terminal import BLOCKS, PLAIN_BLOCKS, bars
from edgeq.report.elements import facts, paragraphs, plain, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from edgeq.validation.layers import LayerFidelity
    from edgeq.validation.parting import Parting
    from edgeq.validation.sensitivity import ValueFidelity

_EXACT_DB = 150.0
"""Above this, decibels tell nothing but equality."""

_VALUES = 10


def causes(layers: Sequence[LayerFidelity]) -> RenderableType | None:
    """The layers that were explained, the worst by themselves first; None where there are none."""
    told = [layer for layer in layers if layer.cause]
    if not told:
        return None
    told.sort(key=lambda layer: 0.0 if layer.alone_db is None else layer.alone_db)
    made = table("Why", "layer", "alone dB", "likely cause", numbers=("alone dB",))
    for layer in told:
        made.add_row(plain(layer.name), decibels(layer.alone_db), plain(layer.cause))
    return made


def all_layers(layers: Sequence[LayerFidelity], title: str) -> RenderableType:
    """A row for each layer, in the order given."""
    numbers: tuple[str, ...] = ("reads at dB", "writes at dB")
    alone = any(layer.alone_db is not None for layer in layers)
    numbers += ("alone dB",) if alone else ()
    made = table(title, "layer", "operator", *numbers, numbers=numbers)
    for layer in layers:
        shown = [f"{layer.before_db:.1f}", f"{layer.sqnr_db:.1f}"]
        shown += [decibels(layer.alone_db)] if alone else []
        made.add_row(plain(layer.name), plain(layer.op_type), *shown)
    return made


def worst_values(values: Sequence[ValueFidelity]) -> RenderableType | None:
    """The values whose rounding costs their readers most; None where none is rounded."""
    ranked = sorted(values, key=lambda value: value.cost_db)
    if not ranked:
        return None
    numbers = ("rounded dB", "in readers dB")
    title = f"Values whose rounding costs most{_rest(len(ranked))}"
    made = table(title, "value", *numbers, "worst reader", numbers=numbers)
    for value in ranked[:_VALUES]:
        shown = (decibels(value.sqnr_db), decibels(value.readers_db))
        made.add_row(plain(value.name), *shown, plain(value.reader))
    return made


def parted(parting: Parting | None) -> RenderableType | None:
    """The first layer where both models part, with both histograms."""
    if parting is None:
        return None
    rows = [
        ("first to part", f"{parting.name} ({parting.op_type})"),
        (
            "decibels",
            f"reads at {decibels(parting.before_db)}, writes at {decibels(parting.sqnr_db)}, "
            f"alone {decibels(parting.alone_db) or 'not rounded'}",
        ),
    ]
    rows += [("likely cause", parting.cause)] if parting.cause else []
    rows += [("remedy", parting.remedy)] if parting.remedy else []
    return paragraphs([facts(rows), _Histograms(parting) if parting.edges else None])


def decibels(ratio: float | None) -> str:
    """One place behind the point; nothing where it is not known."""
    if ratio is None:
        return ""
    return "exact" if ratio > _EXACT_DB else f"{ratio:.1f}"


def _rest(count: int) -> str:
    return f" (and {count - _VALUES} more)" if count > _VALUES else ""


@dataclass(frozen=True, slots=True)
class _Histograms:
    """Two lines of blocks, in what characters the terminal has."""

    parting: Parting

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        blocks = PLAIN_BLOCKS if options.ascii_only else BLOCKS
        of = self.parting
        ends = f"{of.edges[0]:.3g} to {of.edges[-1]:.3g}"
        rows = [("float", bars(of.reference, blocks)), ("integers", bars(of.candidate, blocks))]
        made = table(f"What both compute there, {ends}", "", "")
        made.show_header = False
        for name, line in rows:
            made.add_row(name, plain(line))
        yield made
