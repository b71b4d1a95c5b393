"""The summary says what matters, on narrow terminals and with names out of hell."""

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from edgeq.graph.interface import Interface, Port
from edgeq.metrics import Fidelity
from edgeq.report.document import ModelFacts, Report
from edgeq.report.terminal import export_svg, render
from edgeq.report.text import amount, counted, file_size, printable
from edgeq.runtime.latency import LatencyComparison, Timing
from edgeq.targets.releases import Need
from edgeq.validation.coverage import Coverage, FloatNode
from edgeq.validation.layers import LayerFidelity
from edgeq.validation.verdict import Score, Verdict

CLOSE = Fidelity(31.4, 0.9994, 0.0123, 0.985, finite=True)
FAR = Fidelity(8.2, 0.91, 4.5, 0.4, finite=True)
NODES = tuple(
    FloatNode(f"/block.{i}/MatMul", "MatMul", 1000 - i, "its second factor is computed")
    for i in range(11)
)
FAST = LatencyComparison(1, Timing(10.0, 9.8, 10.4), Timing(4.0, 3.9, 4.2), 2.5, 50)
SLOW = LatencyComparison(2, Timing(4.0, 3.9, 4.2), Timing(8.0, 7.9, 8.4), 0.5, 50)
GOOD = Report(
    verdict=Verdict(),
    model=ModelFacts(
        Path("/data/net.onnx"),
        "ab" * 32,
        17,
        Interface((Port("x", "FLOAT", (1,)),), (Port("y", "FLOAT", (1,)),), (), ""),
    ),
    scheme="int8",
    target="cpu",
    calibrator="auto",
    samples=128,
    fp32_bytes=4_000_000,
    candidate_bytes=1_000_000,
    outputs={"scores": CLOSE},
    metric=Score("top1", 0.9731, 0.9712),
    coverage=Coverage(900_000, 0, 100_000, NODES[:1], 2, 4),
    latency=(FAST,),
    layers=tuple(LayerFidelity(f"layer{i}", "Conv", 40.0 - 3 * i, 40.0) for i in range(10)),
    timings={"load": 0.1, "calibrate": 1.5},
    peak_rss_mb=123.4,
    warnings=(),
    notes=("Calibrated on 128 pictures in calib/",),
    environment={},
)


def text(report, width=80, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(report, **options))
    return console.file.getvalue()


def words(report, width=80, **options):
    """The text on one line, so that wrapping does not matter."""
    return " ".join(text(report, width, **options).split())


def test_a_good_result_is_told_in_one_line():
    first = text(GOOD).splitlines()[0].strip()
    assert first.startswith("good: 4.00x smaller, 2.50x faster with 1 thread, output at")


def test_everything_that_was_measured_is_shown():
    said = words(GOOD)
    for part in (
        "net.onnx (opset 17)",
        "int8 for cpu, calibrator auto, 128 samples",
        "4 MB -> 1 MB (25%)",
        "90.0% of 1 M multiply-accumulates, 2 leftover Q/DQ nodes",
        "top1: 0.9731 -> 0.9712 (0.0019 worse)",
        "scores 31.4 0.9994 0.0123 98.5%",
        "1 10 (9.8 to 10.4) 4 (3.9 to 4.2) 2.50",
        "/block.0/MatMul MatMul 0.1% its second factor is computed",
        "note Calibrated on 128 pictures in calib/",
    ):
        assert part in said
    assert "Layers that lose most" not in said


def test_a_slower_result_is_said_to_be_slower():
    said = words(replace(GOOD, latency=(SLOW,)))
    assert "SLOWER (2.00x the time with 2 threads)" in said
    assert "0.50 slower" in said


def test_far_off_outputs_are_said_to_be_and_the_worst_layers_are_named():
    said = words(replace(GOOD, outputs={"scores": CLOSE, "boxes": FAR}))
    assert "worst output FAR OFF at 8.2 dB SQNR" in said
    assert "Layers that lose most" in said
    assert said.index("layer9") < said.index("layer8")
    assert "layer0" not in said


def test_all_layers_are_shown_when_asked_for():
    said = words(GOOD, everything=True)
    assert said.index("layer0") < said.index("layer9")


def test_a_failure_and_a_warning_are_told():
    report = replace(
        GOOD,
        verdict=Verdict(("output 'y': SQNR 8.2 dB is below 10 dB",)),
        warnings=("Only 3 calibration samples. Give more",),
    )
    said = words(report)
    assert said.startswith("failed: ")
    assert "failed: output 'y': SQNR 8.2 dB is below 10 dB" in said
    assert "warning Only 3 calibration samples. Give more" in said


def test_the_heaviest_float_nodes_stand_for_all():
    report = replace(GOOD, coverage=replace(GOOD.coverage, float_nodes=NODES))
    said = words(report)
    assert "Left in float (and 3 more)" in said
    assert "/block.7/" in said
    assert "/block.8/" not in said


def test_what_was_not_measured_is_left_out():
    bare = replace(
        GOOD, outputs={}, metric=None, coverage=None, latency=(), layers=(), notes=(), timings={}
    )
    said = words(bare)
    assert "integers not measured" in said
    assert "SQNR" not in said
    assert "threads" not in said


def test_a_candidate_of_unknown_origin_is_called_that():
    said = words(replace(GOOD, scheme="given", calibrator="given"))
    assert "run 128 samples size" in said
    assert "candidate ms" in said
    assert "given" not in said


def test_every_float_node_is_shown_when_asked_for():
    report = replace(GOOD, coverage=replace(GOOD.coverage, float_nodes=NODES))
    said = words(report, everything=True)
    assert "/block.10/MatMul" in said
    assert "more)" not in said


def test_odd_numbers_do_not_break_it():
    odd = replace(
        GOOD,
        model=replace(GOOD.model, path=None),
        fp32_bytes=0,
        candidate_bytes=0,
        outputs={"y": Fidelity(-200.0, 0.0, float("inf"), None, finite=False)},
        coverage=Coverage(0, 0, 0, (FloatNode("n", "Loop", None, "a body"),), 0, 0),
        metric=Score("bits", 1.0, 0.9, higher_is_better=False),
    )
    said = words(odd)
    for part in ("a model in memory", "not finite", "n Loop ? a body", "(0.1000 better)"):
        assert part in said


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    report = replace(
        GOOD,
        outputs={"a_very_long_output_name" * 8: FAR},
        coverage=replace(GOOD.coverage, float_nodes=(replace(NODES[0], name="x" * 300),)),
    )
    assert max(map(len, text(report, width).splitlines())) <= width


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "a[0]", "[link=file:///etc]y", ":smile:"])
def test_names_are_no_markup(name):
    report = replace(
        GOOD,
        outputs={name: FAR},
        layers=(LayerFidelity(name, name, 3.0, 40.0),),
        coverage=replace(GOOD.coverage, float_nodes=(FloatNode(name, name, 1, name),)),
        warnings=(name,),
        notes=(name,),
        verdict=Verdict((name,)),
        model=replace(GOOD.model, path=Path(f"/data/{name.replace('/', '_')}")),
    )
    assert text(report, 120).count(name) >= 8


def test_names_cannot_send_escape_sequences():
    evil = "\x1b[2J\x1b]0;title\x07\nnext\u202e"
    report = replace(
        GOOD, outputs={evil: FAR}, layers=(LayerFidelity(evil, evil, 3.0, 40.0),), notes=(evil,)
    )
    said = text(report, 160)
    assert not set("\x1b\x07\u202e") & set(said)
    assert "\\x1b[2J" in said


def test_the_picture_is_an_svg_of_the_summary():
    picture = export_svg(GOOD)
    assert "http://www.w3.org/2000/svg" in picture
    assert "@font-face" not in picture, "a picture that fetches fonts tells a stranger who looks"
    assert picture.startswith("<svg")
    assert "net.onnx" in picture
    assert export_svg(GOOD) == picture


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a&b", "\x00\x1b[1m", "\ud800"])
def test_names_cannot_break_the_picture(name):
    picture = export_svg(replace(GOOD, outputs={name: FAR}, notes=(name,)))
    ElementTree.fromstring(picture)
    assert "<script" not in picture


def test_sizes_and_counts():
    sizes = [0, 1, 999, 1000, 4_056_000, 999_600, 3_200_000_000]
    assert [file_size(size) for size in sizes] == [
        "0 bytes", "1 bytes", "999 bytes", "1 kB", "4.06 MB", "1 MB", "3.2 GB",
    ]  # fmt: skip
    assert [amount(n) for n in (0, 12, 385_000_000)] == ["0", "12", "385 M"]
    assert [counted(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    assert printable("a\tb\x00ä") == "a\\tb\\x00ä"


def test_a_runtime_that_is_needed_is_told_where_any_will_not_do():
    need = Need((1, 23), ("opset 23", "MatMulNBits with 8 bits"))
    said = words(replace(GOOD, needs=need))
    assert "needs onnxruntime 1.23 or newer (opset 23, MatMulNBits with 8 bits)" in said
    assert "needs" not in words(GOOD)
