"""Text is cut into windows of tokens, each with the token that follows every position."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.calibration.sources.text import TextData, with_tokenizer
from edgeq.errors import DataError, RecipeError, UnsupportedError

INT64, FLOAT = np.dtype(np.int64), np.dtype(np.float32)
IDS = InputSpec("input_ids", INT64, ("batch", "seq"))
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def text(tmp_path):
    """``text.txt`` of eleven words, whose numbers are their tokens, and ``tokenizer.json``."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="nine")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("zero one two three\nfour five six seven eight nine zero")
    return tmp_path / "text.txt"


def source(text, *inputs, window=None, limit=None):
    data = TextData(text, text.parent / "tokenizer.json", window)
    return open_source(data, inputs, max_samples=limit)


def test_windows_and_what_follows_each_position(text):
    found = source(text, IDS, window=4)
    assert [s["input_ids"].tolist() for s in found] == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    assert found.labels["next"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert "2 windows of 4 tokens" in found.description


def test_a_short_text_is_one_window(text):
    found = source(text, IDS)
    assert [s["input_ids"].shape for s in found] == [(1, 10)]


def test_the_model_may_fix_the_window(text):
    fixed = InputSpec("tokens", INT64, (1, 5))
    assert [s["tokens"].tolist() for s in source(text, fixed)][1] == [[5, 6, 7, 8, 9]]
    with pytest.raises(RecipeError, match="windows of 5 tokens, not of 4"):
        source(text, fixed, window=4)


def test_a_limit_cuts_labels_too(text):
    found = source(text, IDS, window=4, limit=1)
    assert len(list(found)) == 1
    assert found.labels["next"].shape == (1, 4)


def test_masks_places_and_empty_caches_come_along(text):
    inputs = [
        IDS,
        InputSpec("attention_mask", INT64, ("batch", "total")),
        InputSpec("position_ids", INT64, ("batch", "seq")),
        InputSpec("past.0", FLOAT, ("batch", 2, "past", 8)),
    ]
    found = source(text, *inputs, window=4)
    first = next(iter(found))
    assert first["attention_mask"].tolist() == [[1, 1, 1, 1]]
    assert first["position_ids"].tolist() == [[0, 1, 2, 3]]
    assert first["past.0"].shape == (1, 2, 0, 8)
    assert any("caches" in note for note in found.assumptions)


def test_what_text_says_nothing_about_is_refused(text):
    with pytest.raises(DataError, match=r"says nothing about input 'pixels' \[1, 3\]"):
        source(text, IDS, InputSpec("pixels", FLOAT, (1, 3)))
    with pytest.raises(DataError, match="batches of 2"):
        source(text, InputSpec("input_ids", INT64, (2, "seq")))


def test_too_little_text(text):
    text.write_text("one")
    with pytest.raises(DataError, match="too few"):
        source(text, IDS)


def test_a_tokenizer_that_is_none(text):
    (text.parent / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="tokenizer cannot be read"):
        source(text, IDS)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UnsupportedError, match=r"edgeq\[text\]"):
        source(tmp_path / "text.txt", IDS)


def test_a_tokenizer_beside_the_model_is_found(tmp_path):
    model = str(tmp_path / "model.onnx")
    with pytest.raises(RecipeError, match=r"no tokenizer\.json beside the model"):
        with_tokenizer(["a.txt"], model)
    (tmp_path / "tokenizer.json").touch()
    other = object()
    found, same = with_tokenizer(["a.txt", other], model, window=7)
    assert found == TextData(Path("a.txt"), tmp_path / "tokenizer.json", 7)
    assert same is other


def test_a_tokenizer_with_nothing_to_encode_is_a_mistake():
    with pytest.raises(RecipeError, match="no data is text"):
        with_tokenizer(["data.npz"], "model.onnx", tokenizer="tokenizer.json")
