"""The model that large_model.py makes is valid, and of the size that was asked for."""

import large_model
import numpy as np

from edgeq.graph import loader
from edgeq.runtime.session import Session


def test_a_model_has_the_size_asked_for_and_runs(tmp_path, monkeypatch):
    for name, value in (("WIDTH", 32), ("INNER", 64), ("WORDS", 128)):
        monkeypatch.setattr(large_model, name, value)
    monkeypatch.setattr(large_model, "_LAYER_BYTES", 2 * 4 * 32 * 64)
    path = tmp_path / "model.onnx"
    size = large_model.make(path, 200_000)
    assert 0.9 < size / 200_000 < 1.1
    assert loader.load(path).size_bytes == size
    logits = Session(path).run({"ids": np.arange(5)[None]})["logits"]
    assert logits.shape == (1, 5, 128)
    assert np.isfinite(logits).all()
