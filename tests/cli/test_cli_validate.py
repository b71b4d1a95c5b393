"""``edgeq validate`` judges any two models of one interface."""

import json

import models
import onnx
import pytest
from onnx import numpy_helper

from edgeq.cli.validate import _thresholds
from edgeq.validation.verdict import Thresholds


@pytest.fixture
def other(net):
    """A model that is far from ``net.onnx``."""
    model = onnx.load(net)
    head = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), head.name))
    onnx.save(model, net.with_name("other.onnx"))
    return net.with_name("other.onnx")


def test_a_model_is_equal_to_itself(run, net, calib):
    result = run("validate", net, net, "--data", calib)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("good")


def test_far_outputs_fail_by_default(run, net, other, calib):
    result = run("validate", net, other, "--data", calib)
    assert result.exit_code == 1
    assert "FAR OFF" in result.stdout
    assert result.stderr.startswith("error: validation failed: output 'scores'")


def test_only_what_is_asked_for_is_judged(run, net, other, calib):
    result = run("validate", net, other, "--data", calib, "--min-sqnr", "-50", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--min-sqnr", 60), "SQNR"),
        (("--min-cosine", 0.99999), "cosine"),
        (("--min-agreement", 1), "agreement"),
        (("--min-speedup", 1000), "speed-up"),
    ],
)
def test_every_threshold_can_fail(run, net, other, calib, options, said):
    result = run("validate", net, other, "--data", calib, *options, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_metric_is_judged(run, net, other, eval_data, work):
    code = "calls = []\ndef score(o, l):\n    calls.append(1)\n    return 2.0 - len(calls)"
    (work / "metric.py").write_text(code)
    options = ("--metric", "metric.py:score", "--max-drop", "10%")
    result = run("validate", net, other, "--data", eval_data, *options, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["accuracy"]["metric"] == {
        "name": "metric.py:score",
        "fp32": 1.0,
        "candidate": 0.0,
    }
    assert "metric" in result.stderr


def test_options_become_thresholds():
    names = ("min_sqnr", "min_cosine", "min_agreement", "max_drop", "min_speedup")
    nothing = dict.fromkeys(names)
    assert _thresholds(nothing, None) is None
    assert _thresholds({**nothing, "min_speedup": 2.0}, None) == Thresholds(min_speedup=2.0)
    assert _thresholds({**nothing, "max_drop": "1%"}, "top1") == Thresholds(
        max_drop=0.01, relative_drop=True
    )


def test_a_drop_without_a_metric_is_refused(run, net, calib, refused):
    refused(run("validate", net, net, "--data", calib, "--max-drop", "1%"), "--metric")


def test_reports_of_a_failed_candidate_are_written(run, net, other, calib, work):
    reports = ("--report", "r.json", "--report", "r.html")
    result = run("validate", net, other, "--data", calib, "-q", *reports)
    assert result.exit_code == 1
    assert json.loads((work / "r.json").read_text())["verdict"] == "failed"
    page = (work / "r.html").read_text(encoding="utf-8")
    assert "Not good." in page
    assert f"edgeq validate {net} {other}" in page


def test_a_report_over_a_model_is_refused(run, net, other, calib, refused):
    refused(
        run("validate", net, other, "--data", calib, "--report", "r.txt"), "a report is no .txt"
    )


def test_verbose_shows_every_layer(run, net, calib):
    made = net.with_name("net.int8.onnx")
    assert run("quantize", net, "--calib", calib, "-q", "-o", made).exit_code == 0
    result = run("validate", net, made, "--data", calib, "--verbose")
    assert result.exit_code == 0, result.stderr


def test_models_of_two_interfaces_are_refused(run, net, work, calib, refused):
    onnx.save(models.mlp(), work / "mlp.onnx")
    refused(run("validate", net, work / "mlp.onnx", "--data", calib))


def test_a_missing_candidate_is_refused(run, net, calib, refused):
    refused(run("validate", net, "gone.onnx", "--data", calib), "gone.onnx", "no such file")


def test_bad_data_is_refused(run, net, work, refused):
    (work / "none").mkdir()
    refused(run("validate", net, net, "--data", "none"), "no samples")


@pytest.mark.parametrize("option", ["--min-sqnr", "--min-cosine", "--min-speedup"])
def test_nan_is_no_threshold(run, net, calib, refused, option):
    refused(run("validate", net, net, "--data", calib, option, "nan"), option, "no threshold")


def test_verbose_says_where_both_part_and_why(run, net, other, calib):
    result = run("validate", net, other, "--data", calib, "--verbose")
    assert result.exit_code == 1
    assert "first to part" in result.stdout
    assert "head" in result.stdout
    assert "What both compute there" in result.stdout
