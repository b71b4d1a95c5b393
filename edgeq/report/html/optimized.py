"""The report of ``edgeq optimize`` as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html import measured, origin, summary
from edgeq.report.html.markup import ROWS, Content, Markup, section, table, tag
from edgeq.report.html.page import cleaned, page
from edgeq.report.html.words import NONE, TIMES, finite, number, percent
from edgeq.report.text import amount, counted

if TYPE_CHECKING:
    from collections.abc import Mapping


def render_optimization(document: Mapping[str, Any], command: str | None = None) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        document: What :meth:`edgeq.report.optimization.OptimizationReport.to_dict` gives.
        command: The command that was run.
    """
    shown = cleaned(dict(document))
    sizes = shown["size"]
    parts = [
        ("summary", "Summary", tag("div", _banner(shown), _cards(shown), id="summary")),
        ("warnings", "Warnings", origin.warnings(shown)),
        ("passes", "Passes", _passes(shown)),
        ("latency", "Speed", measured.latency_section(shown["latency"], "before", "after")),
        (
            "size",
            "Size",
            measured.size_section(sizes["before_bytes"], sizes["after_bytes"], "before", "after"),
        ),
        ("operators", "Operators", _operators(shown)),
        ("declined", "Left alone", _declined(shown)),
        ("origin", "Origin", origin.origin(shown, command)),
    ]
    about = "Cleaned and folded; its outputs stay the same"
    return page(summary.title(shown), about, parts, {"layers": [], "values": []})


def _banner(document: Mapping[str, Any]) -> Markup:
    good, proof = document["verdict"] == "good", document["proof"]
    nodes = document["nodes"]
    if good:
        apart = proof["max_relative_error"]
        said = (
            f"The optimized model gives the same outputs: on {counted(proof['samples'], 'sample')} "
            f"they differ by at most {number(apart, 2)} of an output's range "
            f"({number(proof['tolerance'], 2)} is allowed)."
        )
    else:
        said = "Neither model could be run, so nothing proves that the outputs stay the same."
    return tag(
        "div",
        tag("p", tag("strong", "Good." if good else "Unproven."), " ", said),
        tag("p", f"It has {nodes['after']} nodes in place of {nodes['before']}."),
        class_=f"verdict {'good' if good else 'failed'}",
        role="status",
    )


def _cards(document: Mapping[str, Any]) -> Markup:
    nodes, macs, size = document["nodes"], document["macs"], document["size"]
    rows = [row for row in document["latency"] if finite(row["speedup"])]
    best = max((row["speedup"] for row in rows), default=None)
    made = [
        summary.card(
            "Nodes", f"{nodes['before']} → {nodes['after']}", "Operations that the runtime loads."
        ),
        summary.card(
            "Speed",
            "not measured" if best is None else f"{number(best, 3)}{TIMES}",
            "Against the original, as onnxruntime loads both.",
        ),
        summary.card("Size", percent(size["ratio"], 0), "Of the original file."),
    ]
    if macs["before"] is not None and macs["after"] is not None:
        made.append(
            summary.card(
                "Arithmetic",
                f"{amount(macs['before'])} → {amount(macs['after'])}",
                "Multiply-accumulates of one run.",
            )
        )
    return tag("div", *made, class_="cards")


def _passes(document: Mapping[str, Any]) -> Markup | None:
    rows = [
        [
            each["name"],
            str(each["changes"]),
            str(each["nodes_before"]),
            str(each["nodes_after"]),
            f"{number(each['seconds'], 2)} s",
        ]
        for each in document["passes"]
        if each["changes"]
    ]
    dropped = [
        tag("li", f"{each['name']} was left out: {each['reason']}") for each in document["dropped"]
    ]
    if not rows and not dropped:
        return None
    headings = ["pass", "places changed", "nodes before", "nodes after", "took"]
    return section(
        "passes",
        "What each pass did",
        table(headings, rows, numbers=(1, 2, 3, 4)),
        tag("ul", *dropped) if dropped else None,
        lead="Those that found something to do, in their order.",
    )


def _operators(document: Mapping[str, Any]) -> Markup:
    before, after = document["operators"]["before"], document["operators"]["after"]
    names = sorted({*before, *after}, key=lambda each: (-before.get(each, 0), each))
    rows = [
        [name, str(before.get(name, 0) or NONE), str(after.get(name, 0) or NONE)] for name in names
    ]
    return section(
        "operators",
        "Operators",
        table(["operator", "before", "after"], rows[:ROWS], numbers=(1, 2)),
    )


def _declined(document: Mapping[str, Any]) -> Markup | None:
    rows: list[list[Content]] = [
        [each["name"], sentence] for each in document["passes"] for sentence in each["declined"]
    ]
    if not rows:
        return None
    return section(
        "declined",
        "Left alone",
        tag(
            "details",
            tag("summary", f"All {len(rows)} places"),
            table(["pass", "place and reason"], rows[:ROWS]),
        ),
        lead="Places that looked like work, and why nothing was done there.",
    )
