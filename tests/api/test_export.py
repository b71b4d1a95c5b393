"""Exporting to onnxruntime's format for phones."""

import models
import numpy as np
import onnx
import pytest

import edgeq
from edgeq import api
from edgeq.api import exporting
from edgeq.errors import ModelError, RecipeError, ValidationFailed
from edgeq.runtime.session import Session


@pytest.fixture(scope="module")
def int8():
    return edgeq.quantize(models.conv_net(), models.images(8), validate=False).model


def test_the_file_answers_like_the_model(int8, tmp_path):
    made = api.export(int8, tmp_path / "net.ort", data=models.images(4))
    assert made.samples == 4
    sample = models.images(1)[0]
    got = Session(tmp_path / "net.ort").run(sample)["scores"]
    assert np.array_equal(got, Session(int8).run(sample)["scores"])


def test_what_a_reduced_build_needs_is_written_beside_it(int8, tmp_path):
    made = api.export(int8, tmp_path / "net.ort")
    assert made.config == tmp_path / "net.required_operators_and_types.config"
    assert any("QLinearConv" in line for line in made.operators)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "net.ort",
        "net.required_operators_and_types.config",
    ]
    assert str(tmp_path.parent) not in made.config.read_text()


def test_equal_models_need_equal_builds(int8, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        api.export(int8, tmp_path / name / "net.ort")
    first, second = (tmp_path / n / "net.required_operators_and_types.config" for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_sizes_and_providers_are_told(int8, tmp_path):
    document = api.export(int8, tmp_path / "net.ort", fix_shapes={"N": [1]}).to_dict()
    size = document["size"]
    assert 0 < size["packed_bytes"] < size["bytes"] == (tmp_path / "net.ort").stat().st_size
    rows = {row["provider"]: row for row in document["providers"]}
    assert rows["NNAPI"]["supported"] > 0
    assert "QuantizeLinear" in rows["CoreML"]["unsupported"]


def test_a_file_that_answers_otherwise_is_not_written(int8, tmp_path, monkeypatch):
    real = exporting.convert

    def other(model, folder):
        proto = onnx.load(model)
        for tensor in proto.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                tensor.CopyFrom(onnx.numpy_helper.from_array(array * 2, tensor.name))
        onnx.save(proto, model)
        return real(model, folder)

    def early(model, folder):
        kept = model.read_bytes()
        files = other(model, folder)
        model.write_bytes(kept)
        return files

    monkeypatch.setattr(exporting, "convert", early)
    with pytest.raises(ValidationFailed, match="answers otherwise"):
        api.export(int8, tmp_path / "net.ort", data=models.images(2))
    assert not list(tmp_path.iterdir())


def test_what_onnxruntime_does_not_load_is_told(tmp_path):
    model = models.mlp()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="does not convert the model"):
        api.export(model, tmp_path / "net.ort")
    assert not list(tmp_path.iterdir())


def test_no_such_format_is_told(int8, tmp_path):
    with pytest.raises(RecipeError, match="no format 'tflite'"):
        api.export(int8, tmp_path / "net.ort", format="tflite")
