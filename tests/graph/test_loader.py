import hashlib
import os
import resource
import types

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from edgeq.errors import ModelError, UnsupportedError
from edgeq.graph import loader
from edgeq.graph.loader import load
from edgeq.graph.saver import to_bytes

TEXT = """
<ir_version: 8, opset_import: ["": 17], metadata_props: ["k": "v"]>
g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }
"""


def proto(text=TEXT):
    return parser.parse_model(text)


def written(tmp_path, model=None, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes((model or proto()).SerializeToString())
    return path


def external(tmp_path, location="w.data", *, length=None, offset=0, dims=(2,), data=None):
    """A model whose initializer is in a file; ``data`` None leaves the file out."""
    model = proto()
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims))
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": offset, "length": length}
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    if data is not None:
        (tmp_path / location).write_bytes(data)
    return written(tmp_path, model)


DATA = np.array([3, 4], np.float32).tobytes()


def test_every_kind_of_source_gives_the_same_model(tmp_path):
    path = written(tmp_path)
    program = types.SimpleNamespace(model=ir.load(path))
    old_program = types.SimpleNamespace(model=object(), model_proto=proto())
    data = path.read_bytes()
    for source in (
        path,
        str(path),
        data,
        bytearray(data),
        proto(),
        ir.load(path),
        program,
        old_program,
    ):
        loaded = load(source)
        assert [v.name for v in loaded.model.graph.inputs] == ["x"]
        assert loaded.model.graph.initializers["w"].const_value.numpy().tolist() == [1, 2]
        assert loaded.model.metadata_props == {"k": "v"}
        assert loaded.notes == ()


def test_hash_and_size_of_a_file(tmp_path):
    path = written(tmp_path)
    data = path.read_bytes()
    loaded = load(path)
    assert loaded.sha256 == hashlib.sha256(data).hexdigest() == load(data).sha256
    assert loaded.size_bytes == len(data)
    assert loaded.path == path


def test_hash_and_size_cover_external_data(tmp_path):
    path = external(tmp_path, data=DATA)
    loaded = load(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes() + DATA).hexdigest()
    assert loaded.size_bytes == path.stat().st_size + len(DATA)
    assert loaded.model.graph.initializers["w"].const_value.numpy().tolist() == [3, 4]


def test_hash_of_a_graph_covers_its_large_tensors():
    model = ir.from_proto(proto())
    model.graph.initializers["w"].const_value = ir.tensor(np.zeros(4096, np.float32), name="w")
    first = load(model)
    changed = np.zeros(4096, np.float32)
    changed[-1] = 1
    model.graph.initializers["w"].const_value = ir.tensor(changed, name="w")
    second = load(model)
    assert first.sha256 != second.sha256 == load(model).sha256
    assert second.size_bytes > 4 * 4096


def test_the_source_object_is_never_modified():
    text = """<ir_version: 3, opset_import: ["": 9, "ai.onnx": 10]>
        g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }"""
    source = proto(text)
    before = source.SerializeToString()
    load(source).model.graph.initializers["w"].name = "renamed"
    assert source.SerializeToString() == before
    graph = ir.from_proto(proto(text))
    expected = to_bytes(graph)
    loaded = load(graph).model
    loaded.graph.initializers["w"].name = "renamed"
    loaded.graph[0].op_type = "Sub"
    assert to_bytes(graph) == expected
    assert graph.graph.initializers["w"].const_value.name == "w"


def test_relative_paths_work_from_the_current_folder(tmp_path, monkeypatch):
    external(tmp_path, data=DATA)
    monkeypatch.chdir(tmp_path)
    loaded = load("model.onnx")
    assert loaded.path == tmp_path / "model.onnx"
    graph = load(ir.load("model.onnx")).model
    monkeypatch.chdir("/")
    for model in (loaded.model, graph):
        assert model.graph.initializers["w"].const_value.numpy().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, world\n", "a text file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x20\0\0\0ORTM\0\0", r"\.ort file"),
        (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
        (b"\x08\x08", "not a|Not an ONNX model"),
        (proto().SerializeToString()[:-20], "Not a complete ONNX model"),
        (bytes(range(128, 256)), "Not a"),
    ],
)
def test_what_is_no_model_is_recognized(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert caught.value.remedy
    with pytest.raises(ModelError, match=message):
        load(content)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "none.onnx")
    written(tmp_path)
    with pytest.raises(ModelError, match=r"folder.*model\.onnx"):
        load(tmp_path)
    with pytest.raises(ModelError, match="NoneType"):
        load(None)


def test_a_model_without_outputs_is_refused():
    bad = proto()
    del bad.graph.output[:]
    with pytest.raises(ModelError, match="no outputs"):
        load(bad)
    graph = ir.from_proto(proto())
    graph.graph.outputs.clear()
    with pytest.raises(ModelError, match="no outputs"):
        load(graph)


@pytest.mark.parametrize(
    "location", ["../w.data", "sub/../../w.data", "/etc/hostname", "C:\\w", "..\\w"]
)
def test_external_data_may_not_leave_the_folder(tmp_path, location):
    with pytest.raises(ModelError, match="'w' lies outside"):
        load(external(tmp_path, location))


def test_links_may_not_leave_the_folder(tmp_path):
    outside, folder = tmp_path / "outside.data", tmp_path / "folder"
    outside.write_bytes(DATA)
    folder.mkdir()
    path = external(folder)
    (folder / "w.data").symlink_to(outside)
    with pytest.raises(ModelError, match="'w' is a link that leads out"):
        load(path)
    (folder / "w.data").unlink()
    (folder / "real.data").write_bytes(DATA)
    (folder / "w.data").symlink_to("real.data")
    assert load(path).model.graph.initializers["w"].const_value.numpy().tolist() == [3, 4]


def test_hard_links_are_refused_before_the_run(tmp_path):
    path = external(tmp_path, data=DATA)
    os.link(tmp_path / "w.data", tmp_path / "second")
    with pytest.raises(ModelError, match="hard links"):
        load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'w' is missing: .*w.data"),
        ({"data": DATA[:-1]}, "cut short: it needs 8 bytes at 0, and 7 are there"),
        ({"data": DATA, "offset": 4}, "w.data: .* needs 8 bytes at 4, and 4 are there"),
        ({"data": DATA, "length": 4}, "cut short"),
        ({"data": DATA, "offset": -4}, "offset"),
        ({"data": DATA, "dims": (1 << 40,)}, "cut short"),
    ],
)
def test_missing_or_short_external_data(tmp_path, options, message):
    with pytest.raises(ModelError, match=message):
        load(external(tmp_path, **options))


def test_external_data_of_a_folder_or_a_model_in_memory(tmp_path):
    path = external(tmp_path, "sub")
    (tmp_path / "sub").mkdir()
    with pytest.raises(ModelError, match="not a regular file"):
        load(path)
    with pytest.raises(ModelError, match="a model in memory has no folder"):
        load(path.read_bytes())


def test_an_empty_external_tensor_loads(tmp_path):
    loaded = load(external(tmp_path, data=b"", dims=(0,)))
    assert loaded.model.graph.initializers["w"].const_value.numpy().shape == (0,)
    assert to_bytes(loaded.model)


def test_repeated_opset_imports_are_merged():
    model = proto(TEXT.replace('["": 17]', '["": 13, "ai.onnx": 17, "": 11]'))
    loaded = load(model)
    assert loaded.model.opset_imports == {"": 17}
    assert "merged to 17" in loaded.notes[0]
    graph = ir.from_proto(proto())
    graph.opset_imports["ai.onnx"] = 18
    assert load(graph).model.opset_imports == {"": 18}


def test_the_default_domain_is_normalized():
    loaded = load(proto(TEXT.replace('["": 17]', '["ai.onnx": 17]').replace("Add", "ai.onnx.Add")))
    assert loaded.model.opset_imports == {"": 17}
    assert loaded.model.graph[0].domain == ""


def test_a_missing_opset_import_matters_only_if_used():
    with pytest.raises(ModelError, match="uses Add"):
        load(proto(TEXT.replace('["": 17]', '["other": 1]')))
    other = proto(TEXT.replace('["": 17]', '["other": 1]').replace("Add", "other.Add"))
    assert load(other).model.opset_imports == {"other": 1}
    old = proto(TEXT.replace("ir_version: 8", "ir_version: 1"))
    del old.opset_import[:]
    assert load(old).model.opset_imports == {"": 1}


def test_constants_of_an_old_model_need_not_become_inputs():
    text = """<ir_version: 3, opset_import: ["": 8]>
    g (float[2] x) => (float[2] y) { w = Constant <value = float[2] {1, 2}> () y = Add(x, w) }"""
    assert load(proto(text)).model.ir_version == 4


def with_default(ir_version):
    return proto(
        f'<ir_version: {ir_version}, opset_import: ["": 8]>'
        "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }"
    )


def test_old_formats_force_initializers_into_the_inputs():
    loaded = load(with_default(3))
    assert [v.name for v in loaded.model.graph.inputs] == ["x"]
    assert loaded.model.ir_version == 4
    assert "IR version 3" in loaded.notes[0]


def test_newer_formats_mean_it():
    loaded = load(with_default(4))
    assert [v.name for v in loaded.model.graph.inputs] == ["x", "w"]
    assert "callers may replace them" in loaded.notes[0]


def test_sparse_initializers_become_dense():
    model = proto()
    del model.graph.initializer[:]
    sparse = model.graph.sparse_initializer.add(dims=[2])
    sparse.values.CopyFrom(numpy_helper.from_array(np.array([5], np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1]), "i"))
    loaded = load(model)
    assert loaded.model.graph.initializers["w"].const_value.numpy().tolist() == [0, 5]
    assert loaded.notes == ("1 sparse tensors were made dense",)
    sparse.dims[:] = [1 << 60]
    with pytest.raises(ModelError, match="too large"):
        load(model)


def test_map_outputs_are_unsupported():
    model = proto()
    map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    model.graph.output[0].type.CopyFrom(map_type)
    with pytest.raises(UnsupportedError, match=r"Map types.*zipmap"):
        load(model)


def test_unsorted_nodes_are_sorted():
    model = proto(TEXT.replace("y = Add(x, w)", "t = Neg(x) y = Add(t, w)"))
    nodes = [*reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    loaded = load(model)
    assert [n.op_type for n in loaded.model.graph] == ["Neg", "Add"]
    assert "sorted" in loaded.notes[0]


def test_undefined_values_and_cycles_are_refused():
    with pytest.raises(ModelError, match="Nothing computes 'ghost', which 'Add' reads"):
        load(proto(TEXT.replace("Add(x, w)", "Add(ghost, w)")))
    with pytest.raises(ModelError, match="cycle"):
        load(proto(TEXT.replace("y = Add(x, w)", "a = Add(x, b) b = Neg(a) y = Neg(a)")))


def test_more_than_two_gigabytes_cost_no_memory(tmp_path, monkeypatch):
    # Hashing reads in blocks; over so many zeros it would only take ten seconds.
    monkeypatch.setattr(loader, "_digest_file", lambda path, _: path.stat().st_size)
    size = 2_300_000_000 // 4
    model = proto(TEXT.replace("Add(x, w)", "Gather(w, x)"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    path = external(tmp_path, dims=(size,), data=b"")
    with (tmp_path / "w.data").open("wb") as file:
        file.truncate(size * 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load(path)
    tensor = loaded.model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    assert tensor.numpy()[-1] == 0
    assert loaded.size_bytes > 2_300_000_000 - 4
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 100_000


def test_onnx_is_not_asked_to_load_external_data(tmp_path, monkeypatch):
    path = external(tmp_path, data=DATA)
    monkeypatch.setattr(onnx, "load", None)
    assert load(path)


def test_damaged_tensors_are_refused():
    short = proto()
    short.graph.initializer[0].ClearField("float_data")
    short.graph.initializer[0].raw_data = b"1234567"
    with pytest.raises(ModelError, match="'w' has 7 bytes of data, and its shape needs 8"):
        load(short)
    for data_type in (0, 104):
        odd = proto()
        odd.graph.initializer[0].data_type = data_type
        with pytest.raises(ModelError, match="The graph is invalid"):
            load(odd)
