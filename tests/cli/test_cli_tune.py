"""``edgeq tune`` from files to files."""

import json

import models
import onnx
import onnxruntime as ort
import pytest

from edgeq.recipe import load_recipe

KEYS = {
    "name", "made", "scheme", "score", "drop", "sqnr_db", "latency", "size", "layers", "failures",
    "frontier", "dominated_by", "chosen",
}  # fmt: skip


@pytest.fixture
def data(calib, eval_data):
    return ("--calib", calib, "--eval", eval_data, "--metric", "signal", "--threads", 1)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_every_model_is_a_point_and_one_is_picked_and_written(run, net, data, work):
    result = run(
        "tune", net, *data, "--max-drop", "20%", "--max-points", 6, "-o", "out.onnx",
        "--save-recipe", "r.toml", "--report", "r.json", "--report", "r.html",
    )  # fmt: skip
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert "picked" in result.stdout
    document = json.loads((work / "r.json").read_text())
    assert (document["schema"], document["verdict"]) == (1, "good")
    points = {point["name"]: point for point in document["points"]}
    assert {"fp32", "int8", "fp16"} <= set(points)
    assert len(points) <= 6
    assert all(set(point) == KEYS for point in points.values())
    chosen = points[document["chosen"]]
    assert chosen["chosen"]
    assert chosen["drop"] <= 0.2
    size = (work / "out.onnx").stat().st_size
    assert size == pytest.approx(chosen["size"]["bytes"], rel=0.02)
    ort.InferenceSession(work / "out.onnx", providers=["CPUExecutionProvider"])
    assert load_recipe(work / "r.toml").search is (chosen["scheme"] != "int8")
    beaten = {point["dominated_by"] for point in points.values()} - {None}
    assert all(points[name]["frontier"] for name in beaten)


def test_a_saved_recipe_makes_the_picked_model_again(run, net, data, calib, work):
    picked = ("--max-size", "9x", "--max-points", 2, "-o", "a.onnx", "--save-recipe", "r.toml")
    assert run("tune", net, *data, *picked, "-q").exit_code == 0
    again = run("quantize", net, "--calib", calib, "--recipe", "r.toml", "-o", "b.onnx", "-q")
    assert again.exit_code == 0, again.stderr
    assert (work / "a.onnx").read_bytes() == (work / "b.onnx").read_bytes()


def test_where_nothing_keeps_to_the_limit_nothing_but_reports_is_written(run, net, data, work):
    result = run(
        "tune", net, *data, "--max-size", 10, "--max-points", 2, "-o", "out.onnx",
        "--save-recipe", "r.toml", "--report", "r.json", "-q",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "keeps to --max-size: int8 is nearest" in result.stderr
    assert "Traceback" not in result.stderr
    assert files(work) == ["eval.npz", "net.onnx", "r.json"]
    document = json.loads((work / "r.json").read_text())
    assert (document["verdict"], document["chosen"]) == ("failed", None)
    assert document["limit"]["kind"] == "max_size"


def test_without_a_limit_the_frontier_is_told_as_json_alone(run, net, data):
    result = run("tune", net, *data, "--max-points", 2, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert [point["name"] for point in document["points"]] == ["fp32", "int8"]
    assert document["limit"] is None
    first = document["points"][0]
    assert (first["drop"], first["latency"]["ratio"], first["size"]["ratio"]) == (0.0, 1.0, 1.0)


def test_two_limits_are_refused(run, net, data, refused):
    refused(run("tune", net, *data, "--max-drop", 1, "--max-size", 9), "two limits")


@pytest.mark.parametrize("option", ["-o", "--save-recipe"])
def test_a_file_without_a_limit_is_refused(run, net, data, refused, option):
    refused(run("tune", net, *data, option, "x.onnx"), option, "without a limit")


def test_what_is_no_limit_is_refused(run, net, data, refused):
    refused(run("tune", net, *data, "--max-latency", "soon"), "--max-latency", "milliseconds")


def test_a_target_that_is_not_timed_here_is_refused(run, net, data, refused):
    refused(run("tune", net, *data, "--target", "nnapi"), "nnapi", "measured")


def test_a_recipe_that_searches_nothing_is_refused(run, net, data, refused, work):
    (work / "r.toml").write_text("search = false\n")
    refused(run("tune", net, *data, "--recipe", "r.toml"), "search")


def test_costs_are_saved_and_decide_in_place_of_measuring(run, net, data, calib, work):
    saved = run("tune", net, *data, "--max-points", 2, "--save-costs", "c.json", "-q")
    assert (saved.exit_code, saved.stdout, saved.stderr) == (0, "", "")
    costs = json.loads((work / "c.json").read_text())
    assert (costs["schema"], costs["kind"]) == (1, "edgeq costs")
    assert costs["integer_us"]
    guided = run("tune", net, *data, "--max-points", 4, "--costs", "c.json", "--json")
    assert guided.exit_code == 0, guided.stderr
    document = json.loads(guided.stdout)
    assert document["costs"].startswith("device this machine")
    assert all(point["latency"]["predicted"] for point in document["points"])
    assert {point["scheme"] for point in document["points"]} == {"fp32", "int8"}
    far = ("--target", "arm64", "--costs", "c.json")
    made = run("quantize", net, "--calib", calib, *far, "-o", "arm.onnx", "-q")
    assert made.exit_code == 0, made.stderr


def test_costs_of_another_model_are_refused(run, net, data, calib, refused, work):
    assert run("tune", net, *data, "--max-points", 2, "--save-costs", "c.json").exit_code == 0
    costs = json.loads((work / "c.json").read_text())
    costs["model"]["sha256"] = "0" * 64
    (work / "c.json").write_text(json.dumps(costs))
    refused(run("tune", net, *data, "--costs", "c.json"), "--costs", "0000000000000000")
    refused(run("quantize", net, "--calib", calib, "--costs", "c.json"), "this one has")


@pytest.mark.parametrize("more", [("--no-latency-tuning",), ("--scheme", "dynamic")])
def test_costs_that_decide_nothing_are_refused(run, net, calib, refused, more, work):
    (work / "c.json").write_text("{}")
    refused(run("quantize", net, "--calib", calib, "--costs", "c.json", *more), "--costs")


def test_two_profiles_of_a_device_are_costs(run, net, calib, data, work):
    plain = ("--no-latency-tuning", "-o", "plain.onnx", "-q")
    assert run("quantize", net, "--calib", calib, *plain).exit_code == 0
    costs = []
    for name in ("net", "plain"):
        packed = run("pack", f"{name}.onnx", "--data", calib, "-o", f"{name}.pack", "--samples", 2)
        assert packed.exit_code == 0, packed.stderr
        asked = ("--seconds", 0, "--profile", f"{name}.json", "-q")
        done = run("run", "local", f"{name}.pack", *asked)
        assert done.exit_code == 0, done.stderr
        costs += ["--costs", f"{name}.json"]
    kept = ("--max-points", 2, "--save-costs", "c.json", "--json")
    tuned = run("tune", net, *data, *costs, *kept)
    assert tuned.exit_code == 0, tuned.stderr
    assert json.loads(tuned.stdout)["costs"].startswith("local, onnxruntime")
    saved = json.loads((work / "c.json").read_text())
    assert {"stem", "inner"} <= saved["floating_us"].keys() & saved["integer_us"].keys()


def test_the_runtime_that_models_need_is_told(run, net, data, work):
    onnx.save(models.conv_net(opset=22), net)
    result = run("tune", net, *data, "--max-points", 2, "--report", "r.json")
    assert result.exit_code == 0, result.stderr
    notes = json.loads((work / "r.json").read_text())["notes"]
    assert "int8: onnxruntime 1.21 or newer (opset 22) is needed" in notes
