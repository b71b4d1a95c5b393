"""What was tried and decided: steps, the budget, the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html.bars import change_bar
from edgeq.report.html.glossary import term
from edgeq.report.html.markup import ROWS, Content, Markup, code, join, section, table, tag
from edgeq.report.html.words import NONE, change, decibels, finite, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FORMS = ("static", "dynamic", "float", "absorbed")


def steps(document: Mapping[str, Any]) -> Markup | None:
    """What each recovery step changed."""
    given = document.get("steps")
    if not given:
        return None
    gains = [_gain(step) for step in given]
    largest = max((abs(gain) for gain in gains if gain is not None), default=0.0)
    rows = [
        [
            step["name"],
            tag("span", "kept" if step["kept"] else "undone", class_="" if step["kept"] else "dim"),
            join(
                [
                    change_bar(gain, largest),
                    tag("span", NONE if gain is None else change(gain, " dB")),
                ]
            ),
            f"{decibels(step.get('before_db'))} → {decibels(step.get('after_db'))}",
            f"{number(step.get('seconds'), 2)} s" if step.get("seconds") is not None else NONE,
            step.get("note") or "",
        ]
        for step, gain in zip(given, gains, strict=True)
    ]
    headings = ["step", "", "gain", term("SQNR", "before → after"), "took", ""]
    return section(
        "steps",
        "What each step brought",
        table(headings, rows, numbers=(4,), class_="bars"),
        lead="Steps that win back accuracy, in the order they were tried. Each was measured on "
        "samples, and undone where it did not help.",
    )


def _gain(step: Mapping[str, Any]) -> float | None:
    before, after = step.get("before_db"), step.get("after_db")
    return after - before if finite(before) and finite(after) else None


def budget(document: Mapping[str, Any]) -> Markup | None:
    """The search for a model that keeps to a budget."""
    given = document.get("budget")
    if not given:
        return None
    trials = given.get("trials") or []
    met = "The budget was met" if given.get("met") else "The budget was not met"
    rows = [_trial(index, trial) for index, trial in enumerate(trials[:ROWS], 1)]
    headings = ["trial", "", "layers kept float", "their part of the time", "score", "", "took"]
    return section(
        "budget",
        "The accuracy budget",
        tag(
            "p",
            tag("strong", met),
            f": {given.get('metric')} is {number(given.get('fp32'))} in the original, and may lose "
            f"{number(given.get('allowed'))}.",
        ),
        tag("p", given["reason"]) if given.get("reason") else None,
        table(headings, rows, numbers=(0, 2, 3, 4, 6)) if rows else None,
        lead="How many layers have to stay in floating-point numbers so that no more of the score "
        "is lost than was allowed.",
    )


def _trial(index: int, trial: Mapping[str, Any]) -> list[Content]:
    met, seconds = trial.get("met"), trial.get("seconds")
    return [
        str(index),
        tag("strong", "taken") if trial.get("kept") else "",
        number(trial.get("excluded")),
        percent(trial.get("price")),
        number(trial.get("metric")),
        ""
        if met is None
        else "keeps to it"
        if met
        else tag("span", "loses too much", class_="dim"),
        NONE if seconds is None else f"{number(seconds, 2)} s",
    ]


def plan(decisions: Sequence[Any]) -> Markup | None:
    """What became of each node.

    Args:
        decisions: Rows of node, operator, form and reason.
    """
    if not decisions:
        return None
    forms: dict[str, int] = {}
    for row in decisions:
        forms[row["form"]] = forms.get(row["form"], 0) + 1
    counts = [
        join([str(count), term(form) if form in _FORMS else form], " ")
        for form, count in sorted(forms.items(), key=lambda item: -item[1])
    ]
    rows = [
        [code(row["node"]), row["op_type"], row["form"], row["reason"]] for row in decisions[:ROWS]
    ]
    rest = len(decisions) - len(rows)
    return section(
        "plan",
        "The plan, node by node",
        tag("p", join(counts, ", "), "."),
        tag("div", class_="controls script", id="plan-controls"),
        tag(
            "details",
            tag("summary", f"All {len(decisions)} nodes"),
            table([term("node"), "operator", "runs", "why"], rows, id="plan-table"),
            tag("p", f"{rest} more nodes are left out here; the plan has them.") if rest else None,
            id="plan-rows",
        ),
        lead="What was decided for each operation of the model.",
    )
