"""``edgeq inspect`` tells what a model is made of, without data."""

import json

import models
import onnx
import pytest


def test_facts_and_predictions_are_shown(run, net):
    result = run("inspect", net)
    assert result.exit_code == 0, result.stderr
    unbroken = "".join(result.stdout.split())
    for part in ("net.onnx", "opset", "image: FLOAT[N, 3, 8, 8]", "scores", "Conv", "3 of 3 nodes"):
        assert part.replace(" ", "") in unbroken


def test_json_holds_the_same(run, net):
    result = run("inspect", net, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["model"]["opset"] == 17
    assert document["model"]["inputs"] == [
        {"name": "image", "dtype": "FLOAT", "shape": ["N", 3, 8, 8]}
    ]
    assert document["nodes"]["Conv"] == 2
    assert document["parameters"] > 800
    forms = {decision["name"]: decision["form"] for decision in document["decisions"]}
    assert forms["stem"] == "static"
    assert not list(net.parent.glob("*.int8.onnx"))


def test_what_stays_float_has_a_reason(run, work):
    onnx.save(models.branches(), work / "if.onnx")
    document = json.loads(run("inspect", "if.onnx", "--json").stdout)
    floats = [each for each in document["decisions"] if each["form"] == "float"]
    assert all(each["reason"] for each in floats)


@pytest.mark.parametrize("make", [models.mlp, models.branches, models.elementwise, models.identity])
def test_any_model_can_be_inspected(run, work, make):
    onnx.save(make(), work / "some.onnx")
    result = run("inspect", "some.onnx")
    assert result.exit_code == 0, result.stderr


def test_an_unknown_target_is_refused(run, net, refused):
    refused(run("inspect", net, "--target", "cpuu"), "Did you mean 'cpu'?")


def test_a_missing_model_is_refused(run, work, refused):
    refused(run("inspect", "missing.onnx"), "There is no such file")
