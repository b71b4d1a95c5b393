"""The report of ``edgeq tune`` as a page: a plot of all models, and a table that says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html import origin, summary
from edgeq.report.html.markup import Content, Markup, code, section, table, tag
from edgeq.report.html.page import cleaned, page
from edgeq.report.html.words import NONE, TIMES, decibels, finite, milliseconds, number
from edgeq.report.text import counted, file_size

if TYPE_CHECKING:
    from collections.abc import Mapping


def render_frontier(document: Mapping[str, Any], command: str | None = None) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        document: What :meth:`edgeq.report.frontier.FrontierReport.to_dict` gives.
        command: The command that was run.
    """
    shown = cleaned(dict(document))
    parts = [
        ("summary", "Summary", tag("div", _banner(shown), _cards(shown), id="summary")),
        ("frontier", "Frontier", _plot()),
        ("models", "Models", _models(shown)),
        ("origin", "Origin", origin.origin(shown, command)),
    ]
    about = f"{counted(len(shown['points']), 'model')} of one original, for {shown['target']}"
    data = {"layers": [], "values": [], "frontier": _data(shown)}
    return page(summary.title(shown), about, parts, data)


def _data(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the script draws."""
    points = [
        {
            "name": each["name"],
            "made": each["made"],
            "score": each["score"],
            "time": each["latency"]["ratio"],
            "ms": each["latency"]["median_ms"],
            "size": each["size"]["ratio"],
            "kind": "picked" if each["chosen"] else "best" if each["frontier"] else "beaten",
            "by": each["dominated_by"],
        }
        for each in document["points"]
    ]
    metric = document["metric"]
    return {"points": points, "metric": metric["name"], "higher": metric["higher_is_better"]}


def _banner(document: Mapping[str, Any]) -> Markup:
    limit = document["limit"]
    best = sum(each["frontier"] for each in document["points"])
    told = (
        f"Of {counted(len(document['points']), 'model')} {best} are worth having: nothing beats "
        "them in score, time and size at once."
    )
    if limit is None:
        return tag("div", tag("p", told), class_="verdict good", role="status")
    return tag(
        "div",
        tag("p", tag("strong", "Picked." if limit["met"] else "None picked."), " ", told),
        tag("p", f"{limit['reason']}."),
        class_=f"verdict {'good' if limit['met'] else 'failed'}",
        role="status",
    )


def _cards(document: Mapping[str, Any]) -> Markup:
    points = document["points"]
    made = [each for each in points if each["scheme"] != "fp32"]
    fastest = min(made, key=lambda each: _order(each["latency"]["ratio"]), default=points[0])
    smallest = min(made, key=lambda each: each["size"]["bytes"], default=points[0])
    closest = min(made, key=lambda each: _order(each["drop"]), default=points[0])
    return tag(
        "div",
        summary.card("Most accurate", number(closest["score"]), _named(closest)),
        summary.card("Fastest", _speedup(fastest), _named(fastest)),
        summary.card("Smallest", file_size(smallest["size"]["bytes"]), _named(smallest)),
        class_="cards",
    )


def _order(value: Any) -> float:
    return value if finite(value) else 1e300


def _named(point: Mapping[str, Any]) -> Markup:
    return tag("span", code(point["name"]), f": {point['made']}.")


def _speedup(point: Mapping[str, Any]) -> str:
    speedup = point["latency"]["speedup"]
    return f"{number(speedup, 3)}{TIMES}" if finite(speedup) else NONE


def _plot() -> Markup:
    """Where the script draws; without one the table below says it all."""
    return section(
        "frontier",
        "What is worth having",
        tag("div", id="frontier-plot", class_="script"),
        lead="Each point is a model that was made, run on the evaluation data and timed beside the "
        "original. Nothing beats those of the frontier in score, time and size at once.",
    )


def _models(document: Mapping[str, Any]) -> Markup:
    rows: list[list[Content]] = []
    for each in sorted(document["points"], key=lambda row: _order(row["latency"]["ratio"])):
        beaten = each["dominated_by"]
        kind = "picked" if each["chosen"] else "frontier" if beaten is None else f"less: {beaten}"
        rows.append(
            [
                code(each["name"]),
                number(each["score"]),
                NONE if each["sqnr_db"] is None else decibels(each["sqnr_db"]),
                milliseconds(each["latency"]["median_ms"]),
                _speedup(each),
                file_size(each["size"]["bytes"]),
                kind,
                "; ".join([each["made"], *each["failures"]]),
            ]
        )
    time = "time, predicted" if document["points"][0]["latency"]["predicted"] else "time"
    headings = ["model", "score", "SQNR", time, "speed", "size", "standing", "how"]
    return section(
        "models",
        "All models",
        table(headings, rows, numbers=(1, 2, 3, 4, 5)),
        lead=f"Score: {document['metric']['name']}. A model that another one beats in everything "
        "names it.",
    )
