"""``edgeq evaluate``."""

import json

import graphs
import numpy as np
import pytest


@pytest.fixture
def language(work):
    """``lm.onnx``, a table of what follows each of 20 tokens, and ``text.npz``."""
    model = graphs.proto(
        "lm (int64[b,s] input_ids) => (float[b,s,20] logits) { logits = Gather(t, input_ids) }",
        t=graphs.numbers(0, 20, 20, scale=2),
    )
    (work / "lm.onnx").write_bytes(model.SerializeToString())
    text = np.random.default_rng(1).integers(0, 20, (6, 1, 9))
    np.savez(work / "text.npz", input_ids=text)
    return work


def test_the_score_and_how_sure_it_is(run, language):
    told = run("evaluate", "lm.onnx", "--data", "text.npz", "--metric", "perplexity")
    assert told.exit_code == 0
    assert "perplexity: " in told.stdout
    assert "(lower is better)" in told.stdout
    assert "6 samples" in told.stdout


def test_json_holds_the_interval(run, language):
    told = run("evaluate", "lm.onnx", "--data", "text.npz", "--metric", "perplexity", "--json")
    metric = json.loads(told.stdout)["metric"]
    assert metric["low"] < metric["value"] < metric["high"]


def test_a_metric_that_there_is_not(run, language):
    told = run("evaluate", "lm.onnx", "--data", "text.npz", "--metric", "perplexty")
    assert told.exit_code == 2
    assert "Did you mean 'perplexity'" in told.stderr


def test_a_text_needs_its_tokenizer(run, language, refused):
    (language / "text.txt").write_text("some words")
    told = run("evaluate", "lm.onnx", "--data", "text.txt", "--metric", "perplexity")
    refused(told, "no tokenizer.json beside the model", "--tokenizer FILE")


def test_the_score_of_a_text(run, language):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({f"w{i}": i for i in range(20)}, unk_token="w0")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save("words.json")
    (language / "text.txt").write_text(" ".join(f"w{i % 7}" for i in range(41)))
    told = run(
        "evaluate", "lm.onnx", "--data", "text.txt", "--metric", "perplexity",
        "--tokenizer", "words.json", "--window", 8,
    )  # fmt: skip
    assert told.exit_code == 0, told.stderr
    assert "5 samples" in told.stdout


def test_the_pace_of_a_language_model(run, language):
    told = run("evaluate", "lm.onnx", "--decode", 2, "--contexts", "3,5", "--against", "lm.onnx")
    assert told.exit_code == 0, told.stderr
    assert "written/s" in told.stdout
    assert "reference" in told.stdout
    data = json.loads(run("evaluate", "lm.onnx", "--decode", 2, "--contexts", "4", "--json").stdout)
    assert data["contexts"][0]["context"] == 4


def test_a_score_and_a_pace_are_two_things(run, language, refused):
    refused(run("evaluate", "lm.onnx", "--decode", 2, "--metric", "perplexity"), "--metric")
    refused(run("evaluate", "lm.onnx", "--data", "text.npz"), "--data and --metric")
    refused(run("evaluate", "lm.onnx", "--decode", 2, "--contexts", "many"), "--contexts")
