"""``edgeq guide``."""

import json
import shlex

import decoders
import numpy as np
import onnx
import pytest


@pytest.fixture
def decoder(work):
    """``decoder.onnx`` with a cache, ``calib/`` and ``eval/`` of samples with filled caches."""
    onnx.save(decoders.decoder(), work / "decoder.onnx")
    for folder, seeds in (("calib", range(4)), ("eval", range(4, 7))):
        (work / folder).mkdir()
        for seed in seeds:
            np.savez(work / folder / f"{seed}.npz", **decoders.fed(24, 4, seed=seed))
    return work


def test_a_language_model_ends_with_a_command_that_works(run, decoder):
    told = run(
        "guide", "decoder.onnx", "--eval", "eval", "--calib", "calib", "--max-drop", "20%",
        "--context", 16, "--threads", 1, "--max-samples", 4, "--json",
    )  # fmt: skip
    assert told.exit_code == 0, (told.stdout, told.stderr)
    found = json.loads(told.stdout)
    names = [row["name"] for row in found["models"]]
    assert names[0] == "fp32"
    assert any("kv-cache int8" in name for name in names)
    original = found["models"][0]
    stored = next(row for row in found["models"] if row["name"].endswith("kv-cache int8"))
    assert stored["cache_bytes"] * 4 == original["cache_bytes"]
    words = shlex.split(found["command"])
    assert words[:2] == ["edgeq", "quantize"]
    assert words[words.index("--max-samples") + 1] == "4"
    again = run(*words[1:], "-o", "small.onnx", "--threads", 1)
    assert again.exit_code == 0, again.stderr
    assert (decoder / "small.onnx").is_file()


def test_the_table_names_every_model_and_the_command(run, net, calib, eval_data):
    told = run("guide", net, "--eval", eval_data, "--calib", calib, "--max-drop", "0.5")
    assert told.exit_code == 0, (told.stdout, told.stderr)
    assert "int8" in told.stdout
    assert "Recommended:" in told.stdout
    assert "cache" not in told.stdout
    assert "edgeq quantize" in told.stdout


def test_without_a_model_in_the_budget_nothing_is_recommended(run, net, eval_data):
    told = run("guide", net, "--eval", eval_data, "--metric", "cosine", "--max-drop", "0")
    assert told.exit_code == 1
    assert "nothing is recommended" in told.stderr
    assert "No model keeps to --max-drop 0" in told.stdout


def test_without_time_one_model_is_made_and_the_others_are_named(run, net, calib, eval_data):
    told = run(
        "guide", net, "--eval", eval_data, "--calib", calib, "--max-drop", "0.5",
        "--time-limit", 0, "--json",
    )  # fmt: skip
    found = json.loads(told.stdout)
    assert [row["name"] for row in found["models"]] == ["fp32", "int8"]
    assert any("w8 was left out for lack of time" in note for note in found["notes"])


def test_without_time_few_samples_are_scored_and_that_is_told(run, net, calib, eval_data):
    given = ("guide", net, "--eval", eval_data, "--calib", calib, "--metric", "cosine")
    hurried = json.loads(run(*given, "--time-limit", 0, "--json").stdout)
    assert any("Scored on 8 samples" in note for note in hurried["notes"])
    leisurely = json.loads(run(*given, "--time-limit", 3000, "--json").stdout)
    assert not any("Scored on" in note for note in leisurely["notes"])


def test_a_metric_of_the_users_always_gets_all_samples(run, net, calib, eval_data, work):
    (work / "whole.py").write_text(
        "def score(outputs, labels):\n"
        "    assert len(outputs) == len(labels['label']) == 12\n"
        "    return 1.0\n"
    )
    told = run(
        "guide", net, "--eval", eval_data, "--metric", "whole.py:score", "--calib", calib,
        "--time-limit", 0, "--json",
    )  # fmt: skip
    assert [row["score"] for row in json.loads(told.stdout)["models"]] == [1.0, 1.0]


def test_a_metric_that_fails_is_told_once_and_before_anything_is_made(
    run, refused, net, eval_data, work
):
    (work / "broken.py").write_text("def score(outputs, labels):\n    return labels['there']\n")
    result = run("guide", net, "--eval", eval_data, "--metric", "broken.py:score")
    refused(result, "the metric fails with KeyError: 'there'")
    assert "left out" not in result.stderr
