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


def test_a_moment_comes_by_its_share_of_the_time_or_as_soon_as_something_is_written(tmp_path):
    out = tmp_path / "small.onnx"
    out.touch()
    half, writing = large_model.Moment("quantizes", 0.5), large_model.Moment("writes", None)
    assert [half.has_come(at, 10.0, out) for at in (4.9, 5.0)] == [False, True]
    assert not writing.has_come(9.0, 10.0, out)
    (tmp_path / ".small.onnx.part").mkdir()
    assert writing.has_come(0.1, 10.0, out)


def test_an_ending_is_clean_if_it_is_told_as_promised_and_nothing_changed():
    said = "error: interrupted, nothing was written\n"
    assert large_model.Ending(1.0, 0.1, 130, said, ()).is_clean
    for code, text, changed in ((0, said, ()), (130, "Traceback", ()), (130, said, ("left",))):
        assert not large_model.Ending(1.0, 0.1, code, text, changed).is_clean
