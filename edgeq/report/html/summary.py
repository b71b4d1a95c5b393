"""The top of the page: good or not, why, and the four numbers that everybody asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.report.html.bars import bar, stacked
from edgeq.report.html.glossary import term
from edgeq.report.html.markup import Content, Markup, code, join, tag
from edgeq.report.html.words import (
    TIMES,
    closeness,
    error_share,
    finite,
    number,
    percent,
)
from edgeq.report.text import amount, counted, file_size
from edgeq.validation.advice import FAR_OFF_DB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIVEN = "given"
"""Stands for the scheme of a candidate that somebody else made."""

INTEGERS = ("int8", "int16", "nbits")
"""Keys of ``coverage.macs`` that are computed in whole numbers."""

_KINDS = (
    ("int8", "8-bit integers", "int8"),
    ("int16", "16-bit integers", "int16"),
    ("nbits", "block-wise integer weights", "nbits"),
    ("fp16", "16-bit floats", "fp16"),
    ("float", "32-bit floats", "float"),
)
_WORST = 3


def candidate_name(document: Mapping[str, Any]) -> str:
    """What the model that was made or given is called."""
    return "candidate" if document["scheme"] == GIVEN else f"{document['scheme']} model"


def title(document: Mapping[str, Any]) -> str:
    """File name of the model."""
    path = document["model"]["path"]
    return "a model in memory" if path is None else _file(path)


def _file(path: str) -> str:
    """A path without its folders."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def worst_output(document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The output that is furthest from the original."""
    outputs = document["accuracy"]["outputs"]
    if not outputs:
        return None
    name = min(outputs, key=lambda each: _order(outputs[each]["sqnr_db"]))
    return name, outputs[name]


def _order(sqnr_db: Any) -> float:
    return sqnr_db if finite(sqnr_db) else -1e9


def worst_layers(layers: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The layers at which quality falls furthest, the furthest first."""

    def fall(layer: Mapping[str, Any]) -> float:
        before, after = layer.get("before_db"), layer.get("sqnr_db")
        return before - after if finite(before) and finite(after) else 0.0

    return [each for each in sorted(layers, key=fall, reverse=True)[:count] if fall(each) > 0]


def best_speedup(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The comparison with the largest gain in speed."""
    rows = [row for row in document["latency"] if finite(row["speedup"])]
    return max(rows, key=lambda row: row["speedup"], default=None)


def banner(document: Mapping[str, Any]) -> Markup:
    """Good or not, in words."""
    good, worst = document["verdict"] == "good", worst_output(document)
    doubtful = good and worst is not None and not _order(worst[1]["sqnr_db"]) >= FAR_OFF_DB
    head = "Good, but look closer." if doubtful else "Good." if good else "Not good."
    kind = "doubtful" if doubtful else "good" if good else "failed"
    failures = [tag("li", each) for each in document.get("failures", ())]
    return tag(
        "div",
        tag("p", tag("strong", head), " ", _verdict_words(document)),
        tag("ul", *failures) if failures else None,
        None if good else _remedies(document),
        class_=f"verdict {kind}",
        role="status",
    )


def _verdict_words(document: Mapping[str, Any]) -> Markup:
    who = candidate_name(document)
    sentences: list[Content] = []
    worst = worst_output(document)
    if worst is not None:
        near = closeness(worst[1]["sqnr_db"])
        sentences.append(f"The {who}'s answers are {near} those of the original.")
    metric = document["accuracy"].get("metric")
    if metric is not None:
        before, after = number(metric["fp32"]), number(metric["candidate"])
        beside = "the same as the original's" if before == after else f"the original's is {before}"
        sentences.append(f"Its task score is {after}, {beside}.")
    sentences.append(f"It is {_gains(document)}.")
    if document["verdict"] != "good":
        sentences.append("It misses what was asked of it:")
    return join(sentences, " ")


def _gains(document: Mapping[str, Any]) -> str:
    """What is gained in size and speed, or lost."""
    size = document["size"]
    small, large = sorted((size["fp32_bytes"], size["candidate_bytes"]))
    word = "smaller" if size["candidate_bytes"] <= size["fp32_bytes"] else "larger"
    said = f"{large / small:.2g} times {word}" if small else "of unknown size"
    best = best_speedup(document)
    if best is None:
        return said
    if best["speedup"] >= 1:
        return f"{said} and {best['speedup']:.2g} times as fast"
    return f"{said}, but slower here ({1 / max(best['speedup'], 1e-9):.2g} times the time)"


def _remedies(document: Mapping[str, Any]) -> Markup:
    """What to do about a failure."""
    if document["scheme"] == GIVEN:
        return tag(
            "p", "Quantize it again with other settings, or let edgeq quantize the original."
        )
    layers = worst_layers(document["layers"], _WORST)
    tips: list[Content] = [
        "Give more, and more typical, calibration samples: 100 or more.",
        join(
            [
                "Leave the layers float where most quality is lost (--exclude): ",
                join([code(layer["name"]) for layer in layers], ", "),
            ]
        )
        if layers
        else None,
        "Say how much of the task score may be lost, and let edgeq search for a model that keeps "
        "to it: --eval DATA --metric NAME --max-drop 1%.",
    ]
    listed = [tag("li", tip) for tip in tips if tip is not None]
    return join([tag("p", tag("strong", "What to do")), tag("ul", *listed)])


def cards(document: Mapping[str, Any]) -> Markup:
    """Accuracy, size, speed and coverage: a number and a sentence each."""
    made = [_accuracy(document), _speed(document), _size(document), _coverage(document)]
    return tag("div", *made, class_="cards")


def card(name: str, big: Content, *sentences: Content) -> Markup:
    """One number and what it means."""
    return tag(
        "div",
        tag("h3", name),
        tag("p", big, class_="big"),
        *(tag("p", each) for each in sentences if each is not None),
        class_="card",
    )


def _accuracy(document: Mapping[str, Any]) -> Markup:
    worst, metric = worst_output(document), document["accuracy"].get("metric")
    sentences: list[Content] = []
    big: Content = "not measured"
    if worst is not None:
        name, row = worst
        sqnr = row["sqnr_db"]
        big = f"{number(sqnr, 3)} dB" if finite(sqnr) else number(sqnr)
        which = [" of the worst output, ", code(name)] if _several(document) else []
        share = error_share(sqnr) if finite(sqnr) else "an unknown part"
        sentences.append(join([term("SQNR"), *which, f": its error is {share} of its usual size."]))
    if metric is not None:
        big = f"{number(metric['fp32'])} → {number(metric['candidate'])}"
        sentences.insert(
            0, join(["Task score ", code(_file(metric["name"])), ", before and after."])
        )
    agreement = None if worst is None else worst[1].get("top1_agreement")
    if agreement is not None:
        sentences.append(
            join(["Same ", term("top-1", "best choice"), f" in {percent(agreement)} of all cases."])
        )
    return card("Accuracy", big, *sentences)


def _several(document: Mapping[str, Any]) -> bool:
    return len(document["accuracy"]["outputs"]) > 1


def _speed(document: Mapping[str, Any]) -> Markup:
    best = best_speedup(document)
    if best is None:
        return card("Speed", "not measured", "Latency was not measured in this run.")
    threads = counted(best["threads"], "thread") if best["threads"] else "all threads"
    fp32, now = best["fp32"]["median_ms"], best["candidate"]["median_ms"]
    slower = best["speedup"] < 1
    return card(
        "Speed",
        f"{number(best['speedup'], 3)}{TIMES}",
        f"One run takes {number(now, 3)} ms in place of {number(fp32, 3)} ms on this machine "
        f"({threads}){': slower.' if slower else '.'}",
        _two_bars(fp32, now),
    )


def _size(document: Mapping[str, Any]) -> Markup:
    size = document["size"]
    before, after = size["fp32_bytes"], size["candidate_bytes"]
    return card(
        "Size",
        percent(size["ratio"], 0),
        f"{file_size(after)} in place of {file_size(before)}.",
        _two_bars(before, after),
    )


def _two_bars(before: float, after: float) -> Markup:
    largest = max(before, after)
    return join([bar(before, largest, "fp32"), bar(after, largest, "candidate")])


def _coverage(document: Mapping[str, Any]) -> Markup:
    coverage = document["coverage"]
    name = "In whole numbers"
    if coverage is None:
        return card(name, "not measured", "What runs in integers was not measured in this run.")
    return card(
        name,
        percent(coverage["ratio"]),
        join(
            [
                term("coverage", "Of the arithmetic"),
                f" ({amount(coverage['total'])} ",
                term("MACs"),
                " a run), so much runs in ",
                term("int8", "whole numbers"),
                ": promised, not seen." if coverage.get("promised") else ".",
            ]
        ),
        bar(coverage["ratio"], 1.0, "int8"),
    )


def coverage_bar(coverage: Mapping[str, Any]) -> Markup | None:
    """What computes the multiply-accumulates, as one bar."""
    total = coverage["total"]
    if not total:
        return None
    shares = [(said, coverage["macs"].get(key, 0) / total, kind) for key, said, kind in _KINDS]
    return stacked([part for part in shares if part[1] > 0])
