"""The parts of the page below the summary, each readable without a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgeq.report.html.bars import bar, change_bar
from edgeq.report.html.glossary import WORDS, term
from edgeq.report.html.markup import Content, Markup, code, join, section, table, tag
from edgeq.report.html.summary import GIVEN, candidate_name, coverage_bar, worst_layers
from edgeq.report.html.words import (
    NONE,
    TIMES,
    change,
    decibels,
    finite,
    milliseconds,
    number,
    percent,
)
from edgeq.report.text import amount, counted, file_size
from edgeq.targets.releases import described

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

ROWS = 2000
"""Rows of a table at most; a page of more is no page for people."""

_SHOWN = 12
_WORST = 10


def warnings(document: Mapping[str, Any]) -> Markup | None:
    """What the user should know, each with what to do about it."""
    if not document["warnings"]:
        return None
    listed = [tag("li", each) for each in document["warnings"]]
    return section("warnings", "Warnings", tag("ul", *listed, class_="warnings"))


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


_FORMS = ("static", "dynamic", "float", "absorbed")


def origin(document: Mapping[str, Any], command: str | None) -> Markup:
    """How the result came about: enough to do it again."""
    model = document["model"]
    rows: list[list[Content]] = [
        ["model", code(model["path"] or "in memory")],
        ["sha256", code(model["sha256"])],
        [term("opset"), str(model["opset"])],
        ["inputs", join([_port(port) for port in model["inputs"]], ", ")],
        ["outputs", join([_port(port) for port in model["outputs"]], ", ")],
    ]
    if command is not None:
        rows.insert(0, ["command", code(command)])
    rows += [
        [term(key) if key in WORDS else key, str(document[key])]
        for key in ("scheme", "target", "calibrator", "samples")
        if document.get(key) not in (None, GIVEN)
    ]
    if document.get("needs"):
        rows.append(["needs", described(document["needs"])])
    rows.append(["environment", ", ".join(f"{k} {v}" for k, v in document["environment"].items())])
    rows.append(["time", ", ".join(_times(document))])
    rows.append(["memory", f"{number(document['peak_rss_mb'])} MB at most"])
    notes = [tag("li", note) for note in document["notes"]]
    return section(
        "origin",
        "How this came about",
        table(["", ""], rows, class_="facts"),
        tag("ul", *notes, class_="notes") if notes else None,
    )


def _times(document: Mapping[str, Any]) -> Iterator[str]:
    """What each stage took, and how much of it was running models."""
    known = {stage["name"]: stage for stage in document.get("stages", ())}
    for name, seconds in document["timings"].items():
        told = f"{name} {number(seconds, 3)} s"
        stage = known.get(name)
        if stage is None:
            yield told
            continue
        inside = [f"models ran {number(stage['running'], 3)} s"]
        inside += [f"{part['name']} {number(part['seconds'], 3)} s" for part in stage["parts"]]
        yield f"{told} ({'; '.join(inside)})"


def _port(port: Mapping[str, Any]) -> Markup:
    sizes = port["shape"]
    known = ["any" if each is None else str(each) for each in sizes or ()]
    shape = "unknown shape" if sizes is None else TIMES.join(known)
    return join([code(port["name"]), f" ({port['dtype']}, {shape or 'a single number'})"])


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
