"""The report of ``edgeq quantize`` and ``edgeq validate`` as a page."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edgeq.report.calibration import ChannelFacts
from edgeq.report.details import Bars
from edgeq.report.html import choices, losses, measured, origin, summary
from edgeq.report.html.markup import Markup, section, tag
from edgeq.report.html.page import cleaned, page
from edgeq.report.text import counted
from edgeq.validation.advice import FAR_OFF_DB
from edgeq.validation.verdict import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.quantization.plan import NodeDecision
    from edgeq.report.details import Details, ValueDetails

VALUES = 1000
"""Values with a histogram at most: each takes a kilobyte."""

_LAYERS = 5000
_NUMBERS = "The numbers inside"


def render(
    document: Mapping[str, Any], details: Details | None = None, command: str | None = None
) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        document: What :meth:`edgeq.report.Report.to_dict` gives.
        details: Ranges and histograms, where they are known.
        command: The command that was run.
    """
    shown = cleaned(dict(document))
    values = _with_costs(_values(details), shown.get("values") or ())
    given = {} if details is None else cleaned(dict(details.layer_values))
    data = {
        "layers": _layers(shown["layers"], given),
        "values": values,
        "parting": shown.get("parting"),
        "limits": {"failed": DEFAULT.min_sqnr, "far": FAR_OFF_DB},
    }
    decisions = [] if details is None else [_decision(each) for each in details.decisions]
    parts = [
        ("summary", "Summary", _top(shown)),
        ("warnings", "Warnings", origin.warnings(shown)),
        ("accuracy", "Accuracy", measured.accuracy(shown)),
        ("coverage", "Whole numbers", measured.coverage(shown)),
        ("latency", "Speed", measured.latency(shown)),
        ("size", "Size", measured.size(shown)),
        ("layers", "Layers", losses.layers(shown, linked=bool(values))),
        ("parting", "Parting", losses.parting(shown)),
        ("values", "Values", _inside(shown, values, details)),
        ("steps", "Steps", choices.steps(shown)),
        ("budget", "Budget", choices.budget(shown)),
        ("plan", "Plan", choices.plan(decisions)),
        ("origin", "Origin", origin.origin(shown, command)),
    ]
    return page(summary.title(shown), _about(shown), parts, data)


def _about(document: Mapping[str, Any]) -> str:
    samples = counted(document["samples"], "sample")
    if document["scheme"] == summary.GIVEN:
        return f"A candidate held against its original on {samples}"
    return (
        f"Quantized to {document['scheme']} for {document['target']}, "
        f"calibrated with {document['calibrator']} on {samples}"
    )


def _top(document: Mapping[str, Any]) -> Markup:
    return tag("div", summary.banner(document), summary.cards(document), id="summary")


def _layers(layers: Sequence[Mapping[str, Any]], values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": layer["name"],
            "op": layer["op_type"],
            "db": layer.get("sqnr_db"),
            "before": layer.get("before_db"),
            "alone": layer.get("alone_db"),
            "cause": layer.get("cause"),
            "value": values.get(layer["name"]),
        }
        for layer in layers[:_LAYERS]
    ]


def _values(details: Details | None) -> list[dict[str, Any]]:
    """The values to choose from: of too many those that suffer most, in the order of the graph."""
    given = () if details is None else details.values

    def quality(value: ValueDetails) -> float:
        return 1e9 if value.expected_db is None else value.expected_db

    chosen = {id(each) for each in sorted(given, key=quality)[:VALUES]}
    return [_value(each) for each in given if id(each) in chosen]


def _with_costs(
    values: list[dict[str, Any]], costs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The values with what rounding each costs, where that was measured."""
    by_name = {cost["name"]: cost for cost in costs}
    keys = {"own": "sqnr_db", "readers": "readers_db", "reader": "reader",
            "whole_db": "accumulated_db", "cause": "cause"}  # fmt: skip
    for value in values:
        cost = by_name.get(value["name"], {})
        value |= {key: cost[there] for key, there in keys.items() if cost.get(there) is not None}
    return values


def _value(value: ValueDetails) -> dict[str, Any]:
    """Its fields; empty ones are left out: there are thousands of them."""
    row: dict[str, Any] = {}
    for field in fields(value):
        found = getattr(value, field.name)
        if isinstance(found, Bars):
            row[field.name] = {"low": found.low, "high": found.high, "counts": found.counts}
        elif isinstance(found, ChannelFacts):
            row[field.name] = {
                "count": found.count, "dead": len(found.dead), "widest": found.widest
            }  # fmt: skip
        elif found not in (None, ()):
            row[field.name] = cleaned(found)
    return row


def _decision(decision: NodeDecision) -> dict[str, str]:
    return cleaned(  # type: ignore[no-any-return]
        {
            "node": decision.node,
            "op_type": decision.op_type,
            "form": decision.form.value,
            "reason": decision.reason,
        }
    )


def _inside(
    document: Mapping[str, Any], values: Sequence[Mapping[str, Any]], details: Details | None
) -> Markup | None:
    """What rounding values costs; their ranges and histograms, for which the script has a place.

    Without a script there is a table of the ranges.
    """
    worst = losses.worst_values(document, {value["name"] for value in values})
    if not values:
        lead = "What rounding single values costs."
        return None if worst is None else section("values", _NUMBERS, worst, lead=lead)
    left_out = (0 if details is None else len(details.values)) - len(values)
    note = f"{left_out} values that lose less than these are left out here." if left_out else None
    return section(
        "values",
        _NUMBERS,
        worst,
        tag("div", id="explorer", class_="script"),
        None if note is None else tag("p", note, class_="hint"),
        tag("noscript", losses.ranges(values)),
        lead="Which numbers each value of the model takes, and which of them the integers cover. "
        "What lies outside is cut off.",
    )
