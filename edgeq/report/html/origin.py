"""How a result came about, and what to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html.glossary import WORDS, term
from edgeq.report.html.markup import Content, Markup, code, join, section, table, tag
from edgeq.report.html.summary import GIVEN
from edgeq.report.html.words import TIMES, number
from edgeq.targets.releases import described

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def warnings(document: Mapping[str, Any]) -> Markup | None:
    """What the user should know, each with what to do about it."""
    if not document["warnings"]:
        return None
    listed = [tag("li", each) for each in document["warnings"]]
    return section("warnings", "Warnings", tag("ul", *listed, class_="warnings"))


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
