"""What a model would cost on a board, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.estimation.estimate import METHOD
from edgeq.report.elements import paragraphs, plain, sentences, table
from edgeq.report.text import amount, energy, file_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from edgeq.estimation.estimate import Estimate, Limit
    from edgeq.targets.board import Board

_LAYERS = 12
_VALUES = 3


def estimated(board: Board, forms: Sequence[Estimate]) -> RenderableType:
    """Sums of every form of the model, and the layers of the last one.

    Args:
        board: What the estimates are for.
        forms: One for each form of the model.
    """
    sources = [*board.sources, *([] if board.energy is None else [board.energy.source])]
    return paragraphs(
        [
            _sums(board, forms),
            _peaks(forms),
            _layers(forms[-1]),
            sentences("note", "dim", [f"{f.form}: {note}" for f in forms for note in f.notes]),
            plain(METHOD, "dim"),
            plain(f"Sources: {'; '.join(sources)}", "dim") if sources else None,
        ]
    )


def _sums(board: Board, forms: Sequence[Estimate]) -> RenderableType:
    columns = [form.form for form in forms]
    title = f"Estimate for board {board.name}: {board.summary}"
    made = table(title, "of one run", *columns, numbers=columns)
    made.add_row("MACs", *(_macs(form) for form in forms))
    made.add_row("bytes moved", *(file_size(form.moved_bytes) for form in forms))
    made.add_row("arena", *(file_size(form.arena.size) for form in forms))
    for place, limit in enumerate(forms[0].limits):
        made.add_row(limit.memory, *(_limit(form.limits[place]) for form in forms))
    made.add_row("energy", *(_energy(form.energy_pj) for form in forms))
    return made


def _macs(form: Estimate) -> str:
    told = [f"{amount(count)} {precision}" for precision, count in form.macs.items()]
    return ", ".join(told) or "none"


def _limit(limit: Limit) -> str:
    needed = file_size(limit.needed)
    if limit.available is None:
        return needed
    verdict = "of" if limit.fits else "does not fit into"
    return f"{needed} {verdict} {file_size(limit.available)}"


def _energy(picojoules: float | None) -> str:
    return "not known" if picojoules is None else energy(picojoules)


def _peaks(forms: Sequence[Estimate]) -> RenderableType:
    """Where most memory is needed, and by what."""
    made = table("Where the arena is largest", "form", "node", "holds", "bytes", numbers=("bytes",))
    for form in forms:
        for place, (name, size) in enumerate(form.arena.alive[:_VALUES]):
            head = (form.form, form.arena.step) if place == 0 else ("", "")
            made.add_row(plain(head[0]), plain(head[1]), plain(name), file_size(size))
    return made


def _layers(form: Estimate) -> RenderableType:
    """The layers that cost most: by energy, where it is known, else by bytes."""
    known = form.energy_pj is not None
    ranked = sorted(form.layers, key=lambda n: -((n.energy_pj or 0) if known else n.moved_bytes))
    rest = len(ranked) - _LAYERS
    more = f" (and {rest} more)" if rest > 0 else ""
    columns = ("MACs", "activations", "constants", "energy")
    made = table(f"Costliest layers, {form.form}{more}", "node", "operator", "in", *columns,
                 numbers=columns)  # fmt: skip
    for each in ranked[:_LAYERS]:
        made.add_row(
            plain(each.name),
            plain(each.op_type),
            each.precision,
            amount(each.macs) if each.macs else "",
            file_size(each.read_bytes + each.written_bytes),
            file_size(each.constant_bytes),
            _energy(each.energy_pj),
        )
    return made
