"""What is foretold from weights, as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.report.elements import paragraphs, plain, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from edgeq.weight_only.outlook import MatrixOutlook

_SHOWN: Final = 16


def foretold(found: Sequence[MatrixOutlook]) -> RenderableType:
    """The worst matrices at 4 bits, and how many stand out."""
    if not found:
        return plain("No matrix of it can be stored in blocks: there is nothing to foretell")
    schemes = tuple(dict.fromkeys(name for each in found for name in each.sqnr_db))
    rest = len(found) - _SHOWN
    others = f" (and {rest} more matrices)" if rest > 0 else ""
    title = f"SQNR of weights rounded in blocks, dB, the worst first{others}"
    numbers = ("shape", "kurtosis", *schemes)
    made = table(title, "read by", *numbers, "suffers at", numbers=numbers)
    for each in found[:_SHOWN]:
        more = f" and {len(each.nodes) - 1} more" if len(each.nodes) > 1 else ""
        cells = [f"{each.sqnr_db[s]:.1f}" if s in each.sqnr_db else "" for s in schemes]
        made.add_row(
            plain(f"{each.nodes[0]}{more}"), f"{each.rows}x{each.columns}",
            f"{each.kurtosis:.1f}", *cells, ", ".join(each.suffers),
        )  # fmt: skip
    return paragraphs([made, plain(_advice(found))])


def _advice(found: Sequence[MatrixOutlook]) -> str:
    worst = [each for each in found if "w4" in each.suffers]
    if not worst:
        return "No matrix loses clearly more at 4 bits than weights without outliers would"
    names = ", ".join(each.nodes[0] for each in worst[:3])
    return (
        f"{len(worst)} of {len(found)} lose clearly more at 4 bits than weights without outliers "
        f"would: keep them wider with --layer-bits 'NAME=8', or let --target-bits choose ({names})"
    )
