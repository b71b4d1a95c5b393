"""Large weights that stay in their file: the model, its hash and its size are as ever."""

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeq.errors import ModelError
from edgeq.graph import loader, saver, skim
from edgeq.runtime.session import Session


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(skim, "LARGE", 64)
    monkeypatch.setattr(loader, "_SKIMMED_FROM", 1)


@pytest.fixture
def file(tmp_path):
    model = graphs.proto(
        "n (float[2,64] x) => (float[2,32] y) { h = MatMul(x, w) a = Relu(h) y = Add(a, b) }",
        w=graphs.numbers(0, 64, 32), b=graphs.numbers(1, 32), few=np.asarray([1, 2]),
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return path


def tensors(model):
    return {name: value.const_value for name, value in model.graph.initializers.items()}


def test_the_weights_are_mapped_and_the_same(file, monkeypatch):
    skimmed = loader.load(file)
    monkeypatch.setattr(loader, "_SKIMMED_FROM", 1 << 40)
    whole = loader.load(file)
    assert (skimmed.sha256, skimmed.size_bytes) == (whole.sha256, whole.size_bytes)
    left, right = tensors(skimmed.model), tensors(whole.model)
    assert isinstance(left["w"], ir.ExternalTensor)
    assert isinstance(left["b"], ir.ExternalTensor)
    assert not isinstance(left["few"], ir.ExternalTensor)
    for name, tensor in right.items():
        assert np.array_equal(left[name].numpy(), tensor.numpy())
    sample = {"x": graphs.numbers(2, 2, 64)}
    want = Session(whole.model).run(sample)["y"]
    assert np.array_equal(Session(skimmed.model).run(sample)["y"], want)


def test_what_is_saved_holds_the_weights_itself(file, tmp_path):
    model = loader.load(file).model
    saver.save(model, tmp_path / "copy.onnx")
    file.unlink()
    assert "w" in loader.load(tmp_path / "copy.onnx").model.graph.initializers
    onnx.checker.check_model(tmp_path / "copy.onnx")
    assert not onnx.load(tmp_path / "copy.onnx").graph.initializer[0].external_data


def test_the_file_is_not_written_over(file):
    with pytest.raises(ModelError, match="read from"):
        saver.save(loader.load(file).model, file)


def test_a_link_is_read_whole(file, tmp_path):
    link = tmp_path / "link.onnx"
    link.symlink_to(file)
    assert not isinstance(tensors(loader.load(link).model)["w"], ir.ExternalTensor)


def test_a_file_with_data_beside_it_keeps_that(file, tmp_path):
    model = loader.load(file).model
    saver.save(model, tmp_path / "split.onnx", force_external=True)
    again = loader.load(tmp_path / "split.onnx")
    assert np.array_equal(tensors(again.model)["w"].numpy(), tensors(model)["w"].numpy())
    assert again.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("split.onnx*"))


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_damaged_file_is_told_as_ever(file, cut):
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(ModelError, match="Not a complete ONNX model"):
        loader.load(file)


def test_any_bytes_are_a_message_or_are_not():
    generator = np.random.default_rng(0)
    for length in range(1, 400):
        data = generator.integers(0, 256, length, dtype=np.uint8).tobytes()
        try:
            found = skim.skim(memoryview(data), "m.onnx")
        except skim.NotSkimmedError:
            continue
        assert found is None or len(found) > 0
