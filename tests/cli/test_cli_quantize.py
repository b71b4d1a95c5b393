"""``edgeq quantize`` from files to files."""

import hashlib
import html
import json
import subprocess
import sys

import models
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeq import api
from edgeq.recipe import load_recipe

FAILS = ("--metric", "metric.py:score", "--max-drop", "0")


@pytest.fixture
def failing(work, eval_data):
    """Options with which every candidate fails: a metric that rewards the original only."""
    code = "calls = []\ndef score(o, l):\n    calls.append(1)\n    return 2.0 - len(calls)"
    (work / "metric.py").write_text(code)
    return ("--eval", eval_data, *FAILS)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def infer(path, feed):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_one_command_makes_a_model_that_runs(run, net, calib):
    before = digest(net)
    result = run("quantize", net, "--calib", calib)
    assert result.exit_code == 0, result.stderr
    made = net.with_name("net.int8.onnx")
    assert files(net.parent) == ["net.int8.onnx", "net.onnx"]
    assert digest(net) == before
    assert result.stdout.startswith("good")
    assert "Wrote " in result.stdout
    assert "net.int8.onnx" in result.stdout
    feed = models.images(1)[0]
    sessions = [
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (net, made)
    ]
    want, got = (session.run(None, feed)[0] for session in sessions)
    assert np.abs(want - got).max() < 0.2 * np.abs(want).max()
    assert any(
        tensor.data_type == onnx.TensorProto.INT8 for tensor in onnx.load(made).graph.initializer
    )


def test_the_installed_program_does_the_same(net, calib):
    command = [sys.executable, "-m", "edgeq", "quantize", net, "--calib", calib, "-o", "out.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=net.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert (net.parent / "out.onnx").is_file()


def test_json_is_the_only_thing_on_stdout(run, net, calib):
    result = run("quantize", net, "--calib", calib, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    assert document["verdict"] == "good"
    assert document["samples"] == 24
    assert document["scheme"] == "int8"
    assert document["coverage"]["ratio"] > 0.5
    assert result.stderr == ""


def test_quiet_prints_nothing(run, net, calib):
    result = run("quantize", net, "--calib", calib, "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert net.with_name("net.int8.onnx").is_file()


def test_reports_are_written_as_often_as_asked(run, net, calib, work):
    result = run(
        "quantize", net, "--calib", calib, "-q", "--report", "a.json", "--report", "b.JSON"
    )
    assert result.exit_code == 0, result.stderr
    first = json.loads((work / "a.json").read_text())
    assert first == json.loads((work / "b.JSON").read_text())
    assert first["model"]["path"].endswith("net.onnx")


def test_a_page_is_written_with_the_command_and_the_histograms(run, net, calib, work):
    recipe = work / "my recipe.toml"
    recipe.write_text("exclude = []")
    given = ("--calib", calib, "--recipe", recipe)
    result = run("quantize", net, *given, "-q", "--report", "r.html")
    assert result.exit_code == 0, result.stderr
    page = (work / "r.html").read_text(encoding="utf-8")
    said = f"edgeq quantize {net} --calib {calib} --recipe '{recipe}' --report r.html --quiet"
    assert html.escape(said) in page
    assert '"whole"' in page


def test_a_page_may_lie_beside_the_samples_and_be_written_again(run, net, calib):
    for _ in range(2):
        result = run("quantize", net, "--calib", calib, "-q", "--report", calib / "r.html")
        assert result.exit_code == 0, result.stderr


def test_options_reach_the_api(run, net, calib, work, monkeypatch):
    seen = {}

    def quantize(model, data, **options):
        seen.update(options, model=model, data=data)
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "quantize", quantize)
    result = run(
        "quantize", net, "--calib", "DATA", "--calibrator", "percentile:level=99.9",
        "--recipe", "r.toml", "--exclude", "head*", "--exclude", "Conv", "--max-samples", 5,
        "--threads", 2, "--seed", 7, "--eval", "E", "--metric", "-m.py:f#k", "--max-drop", "0.5%",
        "--max-trials", 3, "--time-limit", 60, "--skip-step", "bias", "--no-validate",
        "--no-latency-tuning", "--block-size", 64, "--method", "rtn", "--layer-bits", "head*=8",
    )  # fmt: skip
    assert result.exit_code == 130
    assert seen.pop("progress") is None
    assert str(seen.pop("recipe")) == "r.toml"
    assert seen.pop("model") == net
    assert seen == {
        "data": "DATA",
        "calibration_table": None,
        "allow_partial": False,
        "scheme": "int8",
        "kv_cache": None,
        "float_type": None,
        "tokenizer": None,
        "window": None,
        "target": "cpu",
        "calibrator": "percentile:level=99.9",
        "exclude": ("head*", "Conv"),
        "max_samples": 5,
        "threads": 2,
        "seed": 7,
        "evaluation_data": "E",
        "metric": "-m.py:f#k",
        "max_drop": "0.5%",
        "max_trials": 3,
        "time_limit": 60.0,
        "skip_steps": ("bias",),
        "validate": False,
        "latency_tuning": False,
        "costs": (),
        "block_size": 64,
        "symmetric": False,
        "method": "rtn",
        "weight_format": "operator",
        "layer_bits": {"head*": 8},
        "target_bits": None,
    }


def test_without_validation_the_model_is_written_and_said_not_to_be_measured(run, net, calib):
    result = run("quantize", net, "--calib", calib, "--no-validate")
    assert result.exit_code == 0, result.stderr
    assert "not measured" in result.stdout


def test_a_metric_is_shown(run, net, calib, eval_data):
    result = run("quantize", net, "--calib", calib, "--eval", eval_data, "--metric", "top1")
    assert result.exit_code == 0, result.stderr
    assert "top1: " in result.stdout


def test_a_failed_validation_writes_no_model_and_says_why(run, net, calib, failing, work):
    before = files(work)
    result = run("quantize", net, "--calib", calib, *failing, "--report", "r.json")
    assert result.exit_code == 1
    assert result.stdout.startswith("failed")
    first, second = result.stderr.splitlines()
    assert first.startswith("error: validation failed: metric ")
    assert "Nothing was written" in second
    assert files(work) == sorted([*before, "r.json"])
    assert json.loads((work / "r.json").read_text())["verdict"] == "failed"


def test_a_failed_validation_is_told_even_quietly(run, net, calib, failing):
    result = run("quantize", net, "--calib", calib, *failing, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "validation failed" in result.stderr


def test_the_best_is_kept_on_request(run, net, calib, failing):
    result = run("quantize", net, "--calib", calib, *failing, "--keep-best", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verdict"] == "failed"
    assert "--keep-best" in result.stderr
    assert net.with_name("net.int8.onnx").is_file()


def test_an_older_result_is_replaced_by_a_new_one_only(run, net, calib, failing):
    made = net.with_name("net.int8.onnx")
    made.write_text("an older result")
    assert run("quantize", net, "--calib", calib, *failing, "-q").exit_code == 1
    assert made.read_text() == "an older result"
    assert run("quantize", net, "--calib", calib, "-q").exit_code == 0
    onnx.checker.check_model(str(made))


def test_the_recipe_of_a_model_of_any_name_is_read_again(run, net, calib, work):
    strange = net.rename(net.with_name("a\x01\udcff\nb.onnx"))
    saved = work / "saved.toml"
    result = run("quantize", strange, "--calib", calib, "--save-recipe", saved, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert not load_recipe(saved).search
