"""``edgeq inspect`` tells what a model is made of, without data."""

import json

import graphs
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


def test_sensitivity_is_shown_and_nothing_is_written(run, net, calib):
    before = sorted(net.parent.rglob("*"))
    result = run("inspect", net, "--sensitivity", "--calib", calib)
    assert result.exit_code == 0, result.stderr
    for part in ("Plain int8, on", "alone dB", "Values whose rounding costs most", "stem"):
        assert part in result.stdout
    assert sorted(net.parent.rglob("*")) == before


def test_sensitivity_as_json(run, net, calib):
    result = run("inspect", net, "--sensitivity", "--calib", calib, "--json")
    document = json.loads(result.stdout)
    assert document["samples"] >= 4
    assert document["accuracy"]["outputs"]["scores"]["sqnr_db"] > 15
    names = {row["name"] for row in document["layers"]}
    assert {"stem", "inner", "head"} <= names
    assert all(row["alone_db"] > 15 for row in document["layers"])
    assert {"name", "sqnr_db", "readers_db", "reader"} <= document["values"][0].keys()
    assert document["parting"] is None


@pytest.mark.parametrize("options", [("--sensitivity",), ("--calib", "calib")])
def test_sensitivity_and_samples_belong_together(run, net, options, refused):
    refused(run("inspect", net, *options), options[0])


def test_a_forecast_is_made_for_any_target(run, net):
    result = run("inspect", net, "--target", "nnapi", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    forecast = document["forecast"]
    assert document["target"] == "nnapi"
    assert forecast["coverage"]["ratio"] == 0.0
    assert not forecast["coverage"]["sizes_known"]
    assert forecast["nodes_on_fallback"] > 0
    assert {each["name"] for each in forecast["float_nodes"]} >= {"stem", "inner", "head"}
    assert all("fixed shapes" in each["reason"] for each in forecast["float_nodes"])
    shown = " ".join(run("inspect", net, "--target", "nnapi").stdout.split())
    assert "on its fallback" in shown
    assert "Would multiply in float" in shown


def test_the_forecast_for_the_cpu_counts_regions_and_borders(run, net):
    forecast = json.loads(run("inspect", net, "--json").stdout)["forecast"]
    assert forecast["coverage"]["ratio"] == 1.0
    assert forecast["regions"]["integer"] >= 1
    assert forecast["boundary_crossings"] >= 1
    assert forecast["partitions"] is None
    assert forecast["float_nodes"] == []


def test_sizes_in_every_form(run, work):
    model = graphs.proto(
        "n (float[2,64] x) => (float[2,64] y) { [mm] y = MatMul(x, w) }",
        w=graphs.numbers(0, 64, 64),
    )
    (work / "m.onnx").write_bytes(model.SerializeToString())
    told = run("inspect", "m.onnx", "--sizes")
    assert told.exit_code == 0
    assert "fp16" in told.stdout
    assert "w2" in told.stdout
    document = json.loads(run("inspect", "m.onnx", "--sizes", "--json").stdout)
    assert document["sizes"]["matrices"][0]["bytes"]["fp32"] == 4 * 64 * 64


def test_outliers_are_foretold_to_suffer(run, work):
    plain, far = graphs.numbers(0, 64, 64), graphs.numbers(1, 64, 64)
    far[::32] *= 10.0
    model = graphs.proto(
        """n (float[2,64] x) => (float[2,64] y) {
          [calm] h = MatMul(x, calm)
          r = Relu(h)
          [wild] y = MatMul(r, wild)
        }""",
        calm=plain,
        wild=far,
    )
    (work / "m.onnx").write_bytes(model.SerializeToString())
    told = run("inspect", "m.onnx", "--weights")
    assert told.exit_code == 0
    assert "1 of 2 lose clearly more" in " ".join(told.stdout.split())
    worst, calm = json.loads(run("inspect", "m.onnx", "--weights", "--json").stdout)["weights"]
    assert worst["nodes"] == ["wild"]
    assert "w4" in worst["suffers"]
    assert calm["suffers"] == []
    assert worst["kurtosis"] > 5 > abs(calm["kurtosis"])


def test_an_estimate_is_shown_with_its_method(run, net, tmp_path):
    small = tmp_path / "small.toml"
    small.write_text('summary = "a small one"\nweights = "flash"\nram_bytes = 2000\n')
    result = run("inspect", net, "--estimate", "--board", small, "--fix-shape", "N=1")
    assert result.exit_code == 0, result.stderr
    unbroken = "".join(result.stdout.split())
    for part in (
        "Estimate for board small: a small one",
        "in integers on cpu",
        "6.14 kB does not fit into 2 kB",
        "An estimate, nothing was timed",
        "not known",
    ):
        assert part.replace(" ", "") in unbroken


def test_an_estimate_is_there_for_programs(run, net):
    result = run("inspect", net, "--estimate", "--fix-shape", "N=1", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["estimate"]
    assert found["board"]["name"] == "generic"
    assert "lower bound" in found["method"]
    plain, integers = found["forms"]
    assert sum(layer["macs"] for layer in plain["layers"]) == plain["macs"]["float32"]
    assert integers["arena"]["bytes"] < plain["arena"]["bytes"]
    assert {limit["memory"] for limit in plain["limits"]} == {"flash", "ram"}
    assert integers["energy_pj"] == pytest.approx(
        sum(layer["energy_pj"] for layer in integers["layers"])
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--estimate"], "sizes of an input are open"),
        (["--board", "nrf52840"], "without --estimate nothing is counted"),
        (["--estimate", "--board", "nrf52480"], "Did you mean 'nrf52840'?"),
        (["--estimate", "--fix-shape", "M=1"], "no input or symbolic dimension 'M'"),
    ],
)
def test_estimates_that_cannot_be_made_are_refused(run, net, refused, options, said):
    refused(run("inspect", net, *options), said)


def test_the_runtime_that_a_model_needs_is_told(run, work):
    onnx.save(models.mlp(opset=22), work / "new.onnx")
    assert "onnxruntime 1.21 or newer (opset 22)" in run("inspect", "new.onnx").stdout
    document = json.loads(run("inspect", "new.onnx", "--json").stdout)
    assert document["needs"] == {"onnxruntime": "1.21", "for": ["opset 22"]}
    others = json.loads(run("inspect", "new.onnx", "--target", "tensorrt", "--json").stdout)
    assert others["needs"] is None


def test_a_model_without_matrices_is_told_so(run, tmp_path):
    path = tmp_path / "plain.onnx"
    onnx.save(graphs.proto("n (int64[4] x) => (int64[4] y) { y = Identity(x) }"), path)
    result = run("inspect", path, "--weights")
    assert result.exit_code == 0, result.stderr
    assert "there is nothing to foretell" in " ".join(result.stdout.split())
    assert "No matrix loses" not in result.stdout
