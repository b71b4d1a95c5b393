"""The page is well-formed, says everything without a script, and stays text whatever names hold."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pages
import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import COMMAND, HOSTILE, closeness, details, document, everything, value

from edgeq.report.details import Details
from edgeq.report.html import render, render_optimization, words
from edgeq.report.html.page import cleaned
from edgeq.report.html.quantized import VALUES

VOID = {"br", "input", "meta"}
KNOWN = """
    html head meta title style body header p h1 h2 h3 nav main section div a table thead tbody tr th
    td caption ul li code strong span svg rect details summary noscript dl dt dd script
"""
ELEMENTS = set(KNOWN.split())


class Page(HTMLParser):
    """A page, taken apart; elements that do not close are an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.sources = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] in self.sources:
            self.sources[self.open[-1][0]].append(data)
        else:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, **attributes):
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(k) == v for k, v in attributes.items())
        ]

    def data(self):
        return json.loads(self.sources["script"][0])


def sections(page):
    return [found["id"] for found in page.all("section")]


@pytest.fixture(scope="module")
def full():
    return Page(render(everything(), details(), COMMAND))


def test_every_part_is_there_and_listed(full):
    expected = "warnings accuracy coverage latency size layers parting values steps budget plan"
    assert sections(full) == [*expected.split(), "origin", "words"]
    links = [found["href"] for found in full.all("a") if found.get("class") != "term"]
    links = [link for link in links if not link.startswith("#select=")]
    assert links == ["#summary", *(f"#{name}" for name in sections(full))]


def test_the_time_of_every_stage_is_told_with_what_of_it_models_ran(full):
    assert "load 0.1 s (models ran 0 s)" in full.text
    assert "calibrate 1.5 s (models ran 1.25 s; ranges 0.5 s)" in full.text


def test_what_is_not_known_is_left_out():
    bare = document(
        accuracy={"outputs": {}}, coverage=None, latency=[], layers=[], notes=[], timings={}
    )
    page = Page(render(bare))
    assert sections(page) == ["size", "origin", "words"]
    assert "was not measured in this run" in page.text
    assert COMMAND not in page.text


def test_the_verdict_is_in_words():
    said = Page(render(document())).text
    assert "Good. The int8 model's answers are very close to those of the original." in said
    assert "It is 4 times smaller and 2.5 times as fast." in said
    assert "What to do" not in said


def test_a_good_result_that_is_not_close_is_doubted():
    said = Page(render(document(accuracy={"outputs": {"scores": closeness(16.0)}}))).text
    assert "Good, but look closer. The int8 model's answers are noticeably different from" in said
    assert "What to do" not in said


def test_a_failure_says_why_and_what_to_do(full):
    assert "Not good. The int8 model's answers are far from those of the original." in full.text
    assert "output 'scores': SQNR 8.2 dB is below 10 dB" in full.text
    assert "What to do" in full.text
    assert "--max-drop" in full.text
    assert "of the worst output, boxes : its error is 39 % of its usual size" in full.text


def test_a_slower_model_is_said_to_be_slower():
    row = {**document()["latency"][0], "speedup": 0.5}
    assert (
        "smaller, but slower here (2 times the time)" in Page(render(document(latency=[row]))).text
    )


def test_a_candidate_of_somebody_else_is_no_int8_model():
    failed = everything() | {"scheme": "given", "calibrator": "given"}
    said = Page(render(failed)).text
    assert "The candidate's answers" in said
    assert "Quantize it again" in said
    assert "given" not in said


@pytest.mark.parametrize(
    "part",
    [
        "0.9731 → 0.9712",
        "Its task score is 0.9712, the original's is 0.9731.",
        "top1",
        "8-bit integers 90 %",
        "head Gemm 10 % it was excluded",
        "10 ms (9.8 to 10.4)",
        "2.5\N{MULTIPLICATION SIGN}",
        "4 MB",
        "layer3 Conv",
        "what it reads is exact, what it writes is at 14.0 dB",
        "a few numbers are 40 times larger than all others",
        "bias correction kept +3.5 dB 12.0 dB → 15.5 dB 1.2 s through 31 layers",
        "smoothing undone \N{MINUS SIGN}1.5 dB",
        "The budget was met : top1 is 0.9731 in the original, and may lose 0.005",
        "5 layers were left float for it",
        "2 taken 5 12.5 % 0.88 keeps to it 2.5 s",
        "Only 3 calibration samples. Give at least 16",
        "layer1 Conv float why not",
        COMMAND,
        "onnxruntime 1.31.1",
        "Calibrated on 128 pictures in calib/",
        "unknown shape",
    ],
)
def test_it_reads_without_a_script(full, part):
    assert part in full.text


def test_the_values_that_cost_most_are_told_with_the_likely_cause(full):
    assert full.all("table", id="worst-values")
    assert "value1 Conv 41.5 dB 12.5 dB layer2 outliers reach 40 value0" in full.text
    assert {"#select=value1", "#select=value0"} <= {a["href"] for a in full.all("a")}
    chosen = next(each for each in full.data()["values"] if each["name"] == "value1")
    assert {key: chosen[key] for key in ("own", "readers", "reader", "whole_db", "cause")} == {
        "own": 41.5, "readers": 12.5, "reader": "layer2", "whole_db": 22.25,
        "cause": "outliers reach 40",
    }  # fmt: skip


def test_of_many_values_the_ten_worst_are_told():
    costs = [pages.cost(f"v{i:02}", 50.0 - i) for i in range(30)]
    page = Page(render(document(values=costs)))
    told = [text for text in page.texts if re.fullmatch(r"v\d\d", text)]
    assert told[:10] == [f"v{i}" for i in range(29, 19, -1)]
    assert "v19" not in page.text


def test_values_that_nobody_collected_have_their_costs_and_no_link():
    page = Page(render(everything()))
    assert page.all("table", id="worst-values")
    assert not [a for a in page.all("a") if a["href"].startswith("#select=")]


def test_without_a_script_the_values_are_a_table():
    start = render(document(), details()).split("<noscript>")[1].split("</noscript>")[0]
    said = Page(start).text
    assert "value0 uint8 mse \N{MINUS SIGN}1 1 \N{MINUS SIGN}4 1 1 %" in said
    assert "kept float" in said


def test_every_word_that_is_explained_is_in_the_glossary(full):
    known = {found["id"] for _, found in full.elements if "id" in found}
    words_ = full.all("a", **{"class": "term"})
    assert len(words_) > 10
    for word in words_:
        assert word["aria-describedby"] in known
        assert word["href"].removeprefix("#") in known


def test_ids_are_unique(full):
    found = [attributes["id"] for _, attributes in full.elements if "id" in attributes]
    assert len(found) == len(set(found))


def test_nothing_is_loaded_and_only_its_own_script_may_run():
    text = render(everything(), details(), COMMAND)
    page = Page(text)
    assert not [a for _, a in page.elements if {"src", "style", "srcset", "onclick"} & a.keys()]
    assert all(found["href"].startswith("#") for found in page.all("a"))
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in text
    [policy] = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    assert rules["default-src"] == "'none'"
    for kind, source in (
        ("script", page.sources["script"][1]),
        ("style", page.sources["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def test_the_script_builds_no_markup_from_text():
    script = Page(render(document())).sources["script"][1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script


def test_the_script_gets_layers_values_and_the_link_between_them(full):
    data = full.data()
    assert [layer["name"] for layer in data["layers"]] == [f"layer{i}" for i in range(10)]
    assert data["layers"][1] | {"before": 0} == {
        "name": "layer1", "op": "Conv", "db": 38.0, "before": 0, "alone": 43.0, "cause": None,
        "value": "value1",
    }  # fmt: skip
    assert data["layers"][5]["value"] is None
    assert data["values"][0]["whole"]["counts"] == list(value("").whole.counts)
    assert data["values"][-1] == {"name": "kept float", "consumers": ["Conv"], "count": 0}


def test_hostile_names_are_text():
    report, known = pages.hostile()
    page = Page(render(report, known, HOSTILE[0]))
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert len(page.all("script")) == 2
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    for name in (*HOSTILE[:6], HOSTILE[8], HOSTILE[10]):
        assert " ".join(name.split()) in page.text
    assert "nul\\x00bell\\x07" in page.text
    assert "right\\u202eto left" in page.text
    assert "half \\udc80 of a pair" in page.text
    assert [each["name"] for each in page.data()["values"]][:3] == list(HOSTILE[:3])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(), min_size=1, max_size=30))
def test_any_name_is_text_and_can_be_written(name):
    report = document(warnings=[name], layers=[{**document()["layers"][0], "name": name}])
    text = render(report, details((name,), (name,)), name)
    text.encode("utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert page.data()["layers"][0]["name"] == cleaned(name)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, None])
def test_numbers_that_are_none_have_words(number):
    report = everything()
    report["layers"][0] |= {"sqnr_db": number, "alone_db": number, "before_db": number}
    report["accuracy"]["outputs"]["scores"] = closeness(number, top1_agreement=number)
    report["accuracy"]["metric"] |= {"fp32": number, "candidate": number}
    report["steps"][0] |= {"before_db": number, "seconds": number}
    report["budget"]["trials"][0] |= {"metric": number, "price": number, "seconds": number}
    report["latency"][0] = {**report["latency"][0], "speedup": number}
    report["latency"][0]["fp32"] = dict.fromkeys(("median_ms", "p25_ms", "p75_ms"), number)
    broken = Details((value("v", low=number, scale=number, outside=number),), (), {})
    page = Page(render(report, broken))
    for bad in ("nan", "inf ", "None"):
        assert bad not in page.text.replace("not a number", "").replace("infinite ", "")
    assert page.data()["layers"][0]["db"] is None


def test_it_is_the_same_every_time():
    assert render(everything(), details(), COMMAND) == render(everything(), details(), COMMAND)


def test_its_size_is_bounded():
    many = [f"a/rather/long/name/of/a/value.{i}" for i in range(3000)]
    layers = [{**document()["layers"][0], "name": name} for name in many]
    known = details(many, many)
    text = render(document(layers=layers), known)
    assert len(text) < 6_000_000
    page = Page(text)
    assert len(page.data()["values"]) == VALUES
    assert f"{3001 - VALUES} values that lose less than these are left out here" in page.text
    assert "1000 more nodes are left out here" in page.text
    assert len(render(document(layers=layers[:500]), details(many[:500], many[:500]))) < 1_500_000


def test_of_too_many_values_the_worst_are_kept_in_their_order():
    given = [value(f"v{i}", expected_db=float(i % 1500)) for i in range(1500)]
    data = Page(render(document(), Details(tuple(given), (), {}))).data()
    assert [each["name"] for each in data["values"]] == [f"v{i}" for i in range(1000)]


def test_an_optimization_has_a_page():
    row = document()
    report = {
        **{key: row[key] for key in ("model", "latency", "timings", "peak_rss_mb", "environment")},
        "schema": 1,
        "verdict": "good",
        "target": None,
        "nodes": {"before": 440, "after": 238},
        "operators": {"before": {"Conv": 50, "Add": 9}, "after": {"Conv": 50}},
        "macs": {"before": 1000, "after": 900},
        "size": {"before_bytes": 100, "after_bytes": 90, "ratio": 0.9},
        "proof": {"samples": 5, "max_relative_error": 1e-6, "tolerance": 2e-4},
        "passes": [
            {"name": "fold_pad", "changes": 3, "nodes_before": 9, "nodes_after": 6, "seconds": 0.1,
             "declined": [f"Pad {HOSTILE[0]}: its mode is reflect"]}
        ],
        "dropped": [{"name": "fold_if", "reason": "outputs changed"}],
        "warnings": [],
        "notes": [],
    }  # fmt: skip
    page = Page(render_optimization(report, "edgeq optimize net.onnx"))
    for part in ("Good.", "238", "fold_pad 3 9 6 0.1 s", "fold_if was left out", HOSTILE[0]):
        assert part in page.text
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert "Unproven" in render_optimization({**report, "verdict": "unproven"})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(0.9997), "> 99.9 %"),
        (words.percent(1.0), "100 %"),
        (words.percent(0.0), "0 %"),
        (words.percent(1e-9), "< 0.1 %"),
        (words.percent(0.355), "35.5 %"),
        (words.number(-0.00012345), "\N{MINUS SIGN}0.0001234"),
        (words.number(math.inf), "infinite"),
        (words.decibels(200.0), "exact"),
        (words.decibels(-3.0), "\N{MINUS SIGN}3.0 dB"),
        (words.error_share(20.0), "10 %"),
        (words.error_share(-6.0), "200 %"),
        (words.closeness(math.nan), "not comparable with"),
    ],
)
def test_numbers_as_words(said, expected):
    assert said == expected


def test_a_wheel_has_all_that_the_page_needs(pytestconfig, tmp_path):
    from zipfile import ZipFile

    [wheel] = WheelBuilder(str(pytestconfig.rootpath)).build(directory=str(tmp_path))
    held = set(ZipFile(wheel).namelist())
    assert {f"edgeq/report/html/{name}" for name in ("style.css", "script.js", "page.py")} <= held


def test_a_runtime_that_is_needed_is_told_where_any_will_not_do():
    needs = {"onnxruntime": "1.22", "for": ["MatMulNBits with 8 bits"]}
    told = Page(render(document(needs=needs)))
    assert "onnxruntime 1.22 or newer (MatMulNBits with 8 bits)" in told.text
    assert "or newer" not in Page(render(document(needs=None))).text
