"""What was measured of the whole model: closeness, whole numbers, speed, size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html.bars import bar
from edgeq.report.html.glossary import term
from edgeq.report.html.markup import ROWS, Content, Markup, code, join, section, table, tag
from edgeq.report.html.summary import candidate_name, coverage_bar
from edgeq.report.html.words import (
    NONE,
    TIMES,
    decibels,
    finite,
    milliseconds,
    number,
    percent,
)
from edgeq.report.text import amount, counted, file_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN = 12


def accuracy(document: Mapping[str, Any]) -> Markup | None:
    """Closeness per output, and the task score."""
    outputs, metric = document["accuracy"]["outputs"], document["accuracy"].get("metric")
    if not outputs and metric is None:
        return None
    rows = [
        [
            code(name),
            decibels(row["sqnr_db"]),
            number(row["cosine"], 5),
            number(row["max_abs_error"], 3),
            percent(row["top1_agreement"]) if row.get("top1_agreement") is not None else NONE,
        ]
        for name, row in outputs.items()
    ]
    headings = [
        "output", term("SQNR"), term("cosine"), term("max error"), term("top-1", "top-1 same")
    ]  # fmt: skip
    return section(
        "accuracy",
        "Accuracy",
        None if metric is None else _score(metric, candidate_name(document)),
        table(headings, rows, numbers=(1, 2, 3, 4)) if rows else None,
        lead="How far the outputs are from those of the original on the same samples.",
    )


def _score(metric: Mapping[str, Any], who: str) -> Markup:
    rows = [
        ["original (fp32)", number(metric["fp32"])],
        [who, number(metric["candidate"])],
    ]
    return table(["task score: " + metric["name"], "score"], rows, numbers=(1,))


def coverage(document: Mapping[str, Any]) -> Markup | None:
    """What runs in integers, and why the rest does not."""
    found = document["coverage"]
    if found is None:
        return None
    return section(
        "coverage",
        "What runs in whole numbers",
        coverage_bar(found),
        tag(
            "p",
            "In one run numbers are turned from floating-point into whole ones or back "
            f"{counted(found['boundary_crossings'], 'time')}. ",
            f"{counted(found['leftover_qdq'], 'conversion')} (",
            term("Q/DQ"),
            ") run as operators of their own, which takes time.",
        ),
        _float_nodes(found),
        lead=join(
            [
                "The model's multiplications (",
                term("MACs"),
                "), by the kind of number that the runtime really computes them in.",
            ]
        ),
    )


def _float_nodes(found: Mapping[str, Any]) -> Markup | None:
    nodes, total = found["float_nodes"], found["total"]
    if not nodes:
        return tag("p", "Nothing that multiplies is left in floating-point numbers.")

    def share(macs: int | None) -> str:
        if macs is None:
            return "unknown"
        return percent(macs / total) if total else amount(macs)

    rows = [
        [code(node["name"]), node["op_type"], share(node["macs"]), node["reason"]]
        for node in nodes[:ROWS]
    ]
    headings = [term("node"), "operator", term("MACs"), "why it stays float"]
    return _first(
        headings, rows, (2,), "Left in floating-point numbers, heaviest first", len(nodes)
    )


def _first(
    headings: Sequence[Content],
    rows: Sequence[Sequence[Content]],
    numbers: Sequence[int],
    caption: str,
    total: int,
) -> Markup:
    """The first rows, and the others to be opened."""
    shown = table(headings, rows[:_SHOWN], numbers=numbers, caption=caption)
    rest = rows[_SHOWN:]
    if not rest:
        return shown
    left_out = f" ({total - len(rows)} more are left out)" if total > len(rows) else ""
    more = tag(
        "details",
        tag("summary", f"{len(rest)} more{left_out}"),
        table(headings, rest, numbers=numbers),
    )
    return join([shown, more])


def latency(document: Mapping[str, Any]) -> Markup | None:
    """Times of both models."""
    return latency_section(document["latency"], "original (fp32)", candidate_name(document))


def latency_section(
    comparisons: Sequence[Mapping[str, Any]], before: str, after: str
) -> Markup | None:
    """Times of two models, by number of threads."""
    if not comparisons:
        return None
    medians = [row[key]["median_ms"] for row in comparisons for key in ("fp32", "candidate")]
    largest = max((each for each in medians if finite(each)), default=0)
    rows: list[list[Content]] = []
    for row in comparisons:
        threads = counted(row["threads"], "thread") if row["threads"] else "all threads"
        slower = finite(row["speedup"]) and row["speedup"] < 1
        gain = tag("span", f"{number(row['speedup'], 3)}{TIMES}", class_="bad" if slower else None)
        rows += [
            [threads, before, _timing(row["fp32"], largest, "fp32"), ""],
            ["", after, _timing(row["candidate"], largest, "candidate"), gain],
        ]
    headings = ["", "model", term("median", "median time of a run (quartiles)"), "speed"]
    return section(
        "latency",
        "Speed",
        table(headings, rows, numbers=(3,), class_="bars"),
        lead="Both models took turns on this machine, so that both saw the same conditions.",
    )


def _timing(timing: Mapping[str, Any], largest: float, kind: str) -> Markup:
    said = (
        f"{milliseconds(timing['median_ms'])} "
        f"({number(timing['p25_ms'], 3)} to {number(timing['p75_ms'], 3)})"
    )
    return join([bar(timing["median_ms"], largest, kind), tag("span", said)])


def size(document: Mapping[str, Any]) -> Markup:
    """Bytes of both models."""
    given = document["size"]
    return size_section(
        given["fp32_bytes"], given["candidate_bytes"], "original (fp32)", candidate_name(document)
    )


def size_section(before: int, after: int, first: str, second: str) -> Markup:
    """Bytes of two models."""
    largest = max(before, after)
    rows = [
        [name, join([bar(count, largest, kind), tag("span", file_size(count))])]
        for name, count, kind in ((first, before, "fp32"), (second, after, "candidate"))
    ]
    return section(
        "size",
        "Size",
        table(["model", "file"], rows, class_="bars"),
        lead="Of the file, weights included.",
    )
