import resource
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeq.errors import ModelError
from edgeq.graph import saver
from edgeq.graph.loader import load
from edgeq.graph.saver import save, to_bytes, to_proto

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1024] x) => (float[1024] y) { a = Add(x, w) b = Add(a, v) y = Mul(b, s) }
"""


def model(*, tied=False):
    graph = ir.from_onnx_text(
        TEXT.replace("(float[1024] x)", "(float[1024] x, float[1024] w, float[1024] v, float[1] s)")
    )
    inputs = {value.name: value for value in graph.graph.inputs}
    shared = ir.tensor(np.arange(1024, dtype=np.float32))
    other = shared if tied else ir.tensor(np.ones(1024, np.float32))
    tensors = {"w": shared, "v": other, "s": ir.tensor(np.array([2], np.float32))}
    for name, tensor in tensors.items():
        graph.graph.inputs.remove(inputs[name])
        inputs[name].const_value = tensor
        graph.graph.register_initializer(inputs[name])
    return graph


def outputs(path):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.full(1024, 0.5, np.float32)})[0]


EXPECTED = (np.arange(1024, dtype=np.float32) + 1.5) * 2


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_small_model_is_one_file(tmp_path):
    saved = save(model(), tmp_path / "m.onnx")
    assert saved.files == (tmp_path / "m.onnx",)
    assert saved.size_bytes == (tmp_path / "m.onnx").stat().st_size
    assert names(tmp_path) == ["m.onnx"]
    assert np.array_equal(outputs(saved.files[0]), EXPECTED)


@pytest.mark.parametrize("options", [{"force_external": True}, {"external_from": 8000}])
def test_external_data(tmp_path, options):
    saved = save(model(), tmp_path / "m.onnx", **options)
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]
    assert saved.size_bytes == sum(file.stat().st_size for file in saved.files)
    assert np.array_equal(outputs(saved.files[0]), EXPECTED)
    held = load(saved.files[0]).model.graph.initializers
    assert isinstance(held["w"].const_value, ir.ExternalTensor)
    assert not isinstance(held["s"].const_value, ir.ExternalTensor)


def test_a_tensor_used_twice_is_stored_once(tmp_path):
    saved = save(model(tied=True), tmp_path / "m.onnx", force_external=True)
    assert saved.files[1].stat().st_size == 4096
    expected = (2 * np.arange(1024, dtype=np.float32) + 0.5) * 2
    assert np.array_equal(outputs(saved.files[0]), expected)


def test_mapped_weights_move_into_a_single_file(tmp_path):
    first = save(model(), tmp_path / "a.onnx", force_external=True)
    loaded = load(first.files[0]).model
    second = save(loaded, tmp_path / "b.onnx")
    assert len(second.files) == 1
    for file in first.files:
        file.rename(tmp_path / f"moved.{file.name}")
    assert np.array_equal(outputs(second.files[0]), EXPECTED)


def test_the_saved_model_still_reads_its_own_source(tmp_path):
    source = save(model(), tmp_path / "a.onnx", force_external=True).files[0]
    loaded = load(source).model
    before = loaded.graph.initializers["w"].const_value
    target = save(loaded, tmp_path / "b.onnx", force_external=True)
    for file in target.files:
        file.unlink()
    assert loaded.graph.initializers["w"].const_value is before
    assert before.numpy()[-1] == 1023


def test_an_existing_file_is_replaced(tmp_path):
    save(model(), tmp_path / "m.onnx", force_external=True)
    save(model(tied=True), tmp_path / "m.onnx", force_external=True)
    assert outputs(tmp_path / "m.onnx")[0] == 1
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("name", ["a.onnx", "a.onnx.data", "link.onnx"])
def test_the_source_is_never_overwritten(tmp_path, name):
    source = save(model(), tmp_path / "a.onnx", force_external=True).files[0]
    (tmp_path / "link.onnx").symlink_to("a.onnx")
    before = [file.read_bytes() for file in (source, tmp_path / "a.onnx.data")]
    with pytest.raises(ModelError, match="was read from"):
        save(load(source).model, tmp_path / name)
    assert [file.read_bytes() for file in (source, tmp_path / "a.onnx.data")] == before


def test_the_source_is_known_after_a_copy(tmp_path):
    source = save(model(), tmp_path / "a.onnx").files[0]
    with pytest.raises(ModelError, match="was read from"):
        save(load(source).model.clone(), source)


def test_new_data_may_not_replace_mapped_data(tmp_path):
    source = save(model(), tmp_path / "a.onnx", force_external=True).files[0]
    moved = source.rename(tmp_path / "b.onnx")
    with pytest.raises(ModelError, match="was read from"):
        save(load(moved).model, tmp_path / "a.onnx", force_external=True)


def test_unusable_targets(tmp_path):
    with pytest.raises(ModelError, match="is a folder"):
        save(model(), tmp_path)
    with pytest.raises(ModelError, match="no folder"):
        save(model(), tmp_path / "none" / "m.onnx")


def test_an_unwritable_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(saver.os, "access", lambda *_: False)
    with pytest.raises(ModelError, match="not writable"):
        save(model(), tmp_path / "m.onnx")


class Broken(ir.Tensor):
    def tofile(self, file):
        raise OSError(28, "No space left on device")

    def tobytes(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("external", [True, False])
def test_a_failure_leaves_nothing_behind(tmp_path, external):
    save(model(), tmp_path / "m.onnx", force_external=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = model()
    broken.graph.initializers["v"].const_value = Broken(np.ones(1024, np.float32))
    with pytest.raises(ModelError, match="No space left"):
        save(broken, tmp_path / "m.onnx", force_external=external)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert isinstance(broken.graph.initializers["v"].const_value, Broken)


@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_rename_restores_the_old_pair(tmp_path, monkeypatch, existing):
    if existing:
        save(model(), tmp_path / "m.onnx", force_external=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = Path.replace

    def failing(self, target):
        if Path(target).name == "m.onnx":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ModelError, match="Input/output error"):
        save(model(tied=True), tmp_path / "m.onnx", force_external=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bytes_and_messages_hold_mapped_weights(tmp_path):
    source = save(model(), tmp_path / "a.onnx", force_external=True).files[0]
    loaded = load(source).model
    assert np.array_equal(outputs(to_bytes(loaded)), EXPECTED)
    assert not any(t.external_data for t in to_proto(loaded).graph.initializer)


def sparse_model(tmp_path, size):
    with (tmp_path / "huge.data").open("wb") as file:
        file.truncate(size * 4)
    huge = model()
    huge.graph.initializers["v"].const_value = ir.ExternalTensor(
        "huge.data",
        0,
        size * 4,
        ir.DataType.FLOAT,
        shape=ir.Shape([size]),
        name="v",
        base_dir=tmp_path,
    )
    return huge


def test_a_message_over_two_gigabytes_is_refused(tmp_path):
    huge = sparse_model(tmp_path, 2_300_000_000 // 4)
    for make in (to_bytes, to_proto):
        with pytest.raises(ModelError, match=r"2\.3 GB"):
            make(huge)


def test_large_tensors_are_streamed(tmp_path):
    huge = sparse_model(tmp_path, 300_000_000 // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    saved = save(huge, tmp_path / "m.onnx", external_from=200_000_000)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert saved.size_bytes > 300_000_000
    assert grown_kb < 60_000


def test_the_default_limit_is_below_what_a_message_holds(tmp_path, monkeypatch):
    huge = sparse_model(tmp_path, 1_900_000_000 // 4)
    written = []
    monkeypatch.setattr(saver, "_write_extent", lambda extent, file: written.append(extent))
    assert len(save(huge, tmp_path / "m.onnx").files) == 2
    assert len(written) == 2
