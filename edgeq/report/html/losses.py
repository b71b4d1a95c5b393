"""Where quality is lost: layer by layer, and value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgeq.report.html.glossary import term
from edgeq.report.html.markup import ROWS, Content, Markup, code, join, section, table, tag
from edgeq.report.html.summary import worst_layers
from edgeq.report.html.words import NONE, decibels, finite, number, percent

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

_WORST = 10


def layers(document: Mapping[str, Any], *, linked: bool) -> Markup | None:
    """Quality over the depth of the model.

    Args:
        document: The report.
        linked: Whether there are values that can be chosen.
    """
    given = document["layers"]
    if not given:
        return None
    worst = worst_layers(given, _WORST)
    lead = join(
        [
            "How exact each ",
            term("layer"),
            "'s output still is, from the first layer to the last (",
            term("SQNR"),
            "; higher is better). Where the line falls, quality is lost.",
        ]
    )
    choose = " Click a layer, or press Enter, to see the numbers it computes." if linked else ""
    hint = tag(
        "p",
        f"Move over the picture, or use the arrow keys in it, to read a layer.{choose}",
        class_="hint script",
    )
    plot = tag("div", class_="chart", id="depth")
    return section(
        "layers", "Quality, layer by layer", plot, hint, _layer_table(worst), lead=lead
    )  # fmt: skip


def _layer_table(worst: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not worst:
        return None
    alone = any(layer.get("alone_db") is not None for layer in worst)
    cause = any(layer.get("cause") for layer in worst)
    headings: list[Content] = ["layer", "operator", "what it reads", term("accumulated", "output")]
    headings += [term("alone")] if alone else []
    headings += ["likely cause"] if cause else []
    rows = []
    for layer in worst:
        row: list[Content] = [
            code(layer["name"]),
            layer["op_type"],
            decibels(layer.get("before_db")),
            decibels(layer.get("sqnr_db")),
        ]
        row += [decibels(layer.get("alone_db"))] if alone else []
        row += [layer.get("cause") or NONE] if cause else []
        rows.append(row)
    numbers = (2, 3, 4) if alone else (2, 3)
    return table(headings, rows, numbers=numbers, caption="Layers that lose most")


def parting(document: Mapping[str, Any]) -> Markup | None:
    """The first layer where both models part."""
    given = document.get("parting")
    if not given:
        return None
    cause = given.get("cause")
    return section(
        "parting",
        "Where the two models part",
        tag(
            "p",
            "From the first layer on, both models compute the same thing, until ",
            f"{given.get('op_type') or 'a layer'} ",
            code(given["name"]),
            f": what it reads is {_at(given.get('before_db'))}, what it writes is "
            f"{_at(given.get('sqnr_db'))}.",
        ),
        tag("p", tag("strong", "Likely cause: "), cause) if cause else None,
        tag("div", class_="chart", id="parting-chart"),
        lead="The first layer whose output is noticeably another one, and what both compute there.",
    )


def _at(sqnr_db: Any) -> str:
    said = decibels(sqnr_db)
    return f"at {said}" if said.endswith("dB") else said


def worst_values(document: Mapping[str, Any], linked: Container[str]) -> Markup | None:
    """The values whose rounding costs most, each with the likely cause.

    Args:
        document: The report.
        linked: Names of the values that can be chosen.
    """
    given = [value for value in document.get("values") or () if finite(_cost(value))]
    ranked = sorted(given, key=_cost)[:_WORST]
    if not ranked:
        return None
    cause = any(value.get("cause") for value in ranked)
    headings: list[Content] = ["value", "made by", "itself", "in what reads it", "worst reader"]
    headings += ["likely cause"] if cause else []
    rows = []
    for value in ranked:
        name = code(value["name"])
        if value["name"] in linked:
            name = tag("a", name, href=f"#select={quote(value['name'], safe='')}")
        row: list[Content] = [
            name,
            value.get("op_type") or "input",
            decibels(value.get("sqnr_db")),
            decibels(value.get("readers_db")),
            code(value.get("reader") or NONE),
        ]
        rows.append([*row, value.get("cause") or NONE] if cause else row)
    return table(
        headings,
        rows,
        numbers=(2, 3),
        caption="Values whose rounding costs most, everything else exact",
        id="worst-values",
    )


def _cost(value: Mapping[str, Any]) -> Any:
    """What values are ranked by, in dB."""
    readers = value.get("readers_db")
    return value.get("sqnr_db") if readers is None else readers


def ranges(values: Sequence[Mapping[str, Any]]) -> Markup:
    """The range of every value, as a table: what the page shows of them without a script."""
    rows = [
        [
            code(value["name"]),
            value.get("dtype", "float"),
            value.get("calibrator", NONE),
            number(value.get("low")),
            number(value.get("high")),
            number(value.get("minimum")),
            number(value.get("maximum")),
            percent(value.get("outside"), 3),
        ]
        for value in values[:ROWS]
    ]
    headings = ["value", "stored as", "calibrator", "from", "to", "least", "most", "cut off"]
    return table(headings, rows, numbers=(3, 4, 5, 6, 7))
