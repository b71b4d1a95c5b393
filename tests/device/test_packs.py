"""Packs: what is in them, and what is refused."""

import json
import stat
import struct
import zipfile

import models
import numpy as np
import onnx
import pytest
from editing import edit_manifest, rehash

import edgeq
from edgeq.device import runner
from edgeq.device.reading import opened
from edgeq.errors import DataError, EdgeqError, UnsupportedError


def manifest_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))


def test_equal_models_and_samples_give_equal_bytes(int8_net, net_pack, tmp_path):
    edgeq.pack(int8_net, models.images(3), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == net_pack.read_bytes()


def test_the_model_is_packed_as_it_is(int8_net, net_pack):
    with zipfile.ZipFile(net_pack) as archive:
        assert archive.read("model.onnx") == int8_net.read_bytes()


def test_entries_are_sorted_stored_and_dated_nowhen(net_pack):
    with zipfile.ZipFile(net_pack) as archive:
        entries = archive.infolist()
    assert [e.filename for e in entries] == sorted(e.filename for e in entries)
    assert {e.compress_type for e in entries} == {zipfile.ZIP_STORED}
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_integer_models_are_held_to_every_bit(tmp_path):
    text = """net (float[1, 3, 8, 8] image) => (float[1, 4, 4, 4] y) {{
        [first] a = Conv <kernel_shape = [3, 3]> (image, w)
        [relu] b = Relu (a)
        [second] y = Conv <kernel_shape = [3, 3]> (b, v)
    }}"""
    net = models.build(text, w=models.numbers(0, 8, 3, 3, 3), v=models.numbers(1, 4, 8, 3, 3))
    made = edgeq.quantize(net, models.images(4), validate=False)
    edgeq.pack(made.model, models.images(1), tmp_path / "net.zip")
    (output,) = manifest_of(tmp_path / "net.zip")["outputs"]
    assert (output["tolerance"]["kind"], output["tolerance"]["absolute"]) == ("exact", 0.0)


def test_sums_in_integers_are_held_to_what_other_roundings_cost(net_pack):
    (output,) = manifest_of(net_pack)["outputs"]
    assert output["name"] == "scores"
    assert output["tolerance"]["kind"] == "flips"
    assert output["tolerance"]["because"] == ["QLinearAdd"]


def test_weights_in_files_of_any_name_get_names_of_ours(tmp_path):
    onnx.save(models.mlp(), tmp_path / "a.onnx", save_as_external_data=True, size_threshold=0,
              location="strange name; rm.bin")  # fmt: skip
    edgeq.pack(tmp_path / "a.onnx", models.rows(2), tmp_path / "a.zip")
    assert manifest_of(tmp_path / "a.zip")["model"]["files"] == ["model.onnx", "model.onnx.data"]
    with opened(tmp_path / "a.zip"):
        pass
    assert edgeq.run("local", tmp_path / "a.zip").passed


def test_the_reference_comes_along(int8_net, tmp_path):
    edgeq.pack(int8_net, models.images(2), tmp_path / "a.zip", reference=models.conv_net())
    assert manifest_of(tmp_path / "a.zip")["reference"] == {"files": ["reference.onnx"]}
    result = edgeq.run("local", tmp_path / "a.zip")
    assert result.reference.sqnr_db["scores"] > 20
    assert result.reference.latency.runs >= 1


def test_so_many_samples_as_told(tmp_path):
    packed = edgeq.pack(models.mlp(), models.rows(20), tmp_path / "a.zip")
    assert packed.samples == 8
    assert edgeq.pack(models.mlp(), models.rows(20), tmp_path / "b.zip", samples=3).samples == 3


def test_outputs_that_are_no_tensors_of_numbers_are_refused(tmp_path):
    text = "net (float[4] x) => (seq(float[4]) y) {{ [s] y = SequenceConstruct (x) }}"
    with pytest.raises(UnsupportedError, match="output 'y'"):
        edgeq.pack(models.build(text), [{"x": models.numbers(0, 4)}], tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_model_that_draws_other_numbers_every_time_is_refused(tmp_path):
    text = """
    net (float[4] x) => (float[4] y) {{
        [noise] n = RandomNormalLike (x)
        [sum] y = Add (x, n)
    }}
    """
    with pytest.raises(UnsupportedError, match="noise: RandomNormalLike draws other numbers"):
        edgeq.pack(models.build(text), [{"x": models.numbers(0, 4)}], tmp_path / "a.zip")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(EdgeqError, match="cannot be written"):
        edgeq.pack(models.mlp(), models.rows(1), tmp_path / "no" / "a.zip")


def test_a_good_pack_opens_and_leaves_nothing(net_pack):
    with opened(net_pack) as checked:
        assert (checked.folder / "inputs/000/0.npy").is_file()
    assert not checked.folder.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.sh",
        "/etc/evil",
        "a/../../evil",
        "C:\\evil",
        "a\\b",
        "$(touch evil)",
        "a;b",
        "a b",
        "-rf",
        ".hidden",
        "a\nb",
        "über",
        "a/b/c/d/e/f",
    ],
)
def test_names_that_mean_something_elsewhere_are_refused(rewritten, name):
    path = rewritten(lambda entries: entries.update({name: b"x"}))
    with pytest.raises(DataError, match="name that no pack uses"), opened(path):
        pass


def test_a_link_is_refused(rewritten):
    path = rewritten(lambda entries: entries.update({"link": b"/etc/passwd"}))
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if name == "link" else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, data)
    with pytest.raises(DataError, match="is a link"), opened(path):
        pass


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(rewritten):
    path = rewritten(lambda entries: None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("MODEL.ONNX", b"x")
    with pytest.raises(DataError, match="twice"), opened(path):
        pass


def test_a_size_that_is_a_lie_is_refused(net_pack, tmp_path):
    data = bytearray(net_pack.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the last entry of the directory
    struct.pack_into("<I", data, place + 24, 4_000_000_000)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="unpacks to far more"), opened(tmp_path / "a.zip"):
        pass


def test_a_newer_pack_says_so(rewritten):
    def newer(entries):
        edit_manifest(entries, lambda manifest: manifest.update(version=runner.VERSION + 1))

    path = rewritten(newer)
    with pytest.raises(DataError, match="version 2, this edgeq reads up to 1"), opened(path):
        pass


def flip(entries):
    data = bytearray(entries["model.onnx"])
    data[len(data) // 2] ^= 1
    entries["model.onnx"] = bytes(data)


def test_a_flipped_bit_is_found(rewritten):
    with (
        pytest.raises(DataError, match=r"hash of model.onnx"),
        opened(rewritten(flip, hashes=False)),
    ):
        pass


def test_a_missing_entry_is_found(rewritten):
    path = rewritten(lambda entries: entries.pop("inputs/001/0.npy"))
    with pytest.raises(DataError), opened(path):
        pass


@pytest.mark.parametrize("cut", [0, 10, 1000, -10])
def test_a_file_that_ends_early_is_told(net_pack, tmp_path, cut):
    (tmp_path / "a.zip").write_bytes(net_pack.read_bytes()[:cut])
    with pytest.raises(DataError, match="no pack, or a damaged one"), opened(tmp_path / "a.zip"):
        pass


def test_no_file_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"), opened(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("outputs"),
        lambda m: m.update(outputs=[]),
        lambda m: m.update(samples=[{"inputs": ["../x"], "outputs": ["expected/000/0.npy"]}]),
        lambda m: m.update(samples=7),
        lambda m: m["outputs"][0].update(tolerance={"kind": "exact", "absolute": "1"}),
        lambda m: m["model"].update(files=["runner.py"]),
        lambda m: m["model"].update(files=["model.onnx", "model.onnx.data"]),
        lambda m: m.update(version="1"),
        lambda m: m.update(format="other"),
        lambda m: m.update(made_with=None),
        lambda m: m["inputs"][0].update(name=3),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(rewritten, edit):
    with pytest.raises(DataError), opened(rewritten(lambda e: edit_manifest(e, edit))):
        pass


def test_weights_from_outside_of_the_pack_are_refused(tmp_path, rewritten):
    def escape(entries):
        model = models.with_external_data(models.mlp(), "../../../../etc/passwd")
        entries["model.onnx"] = model.SerializeToString()

    with pytest.raises(DataError, match=r"model.onnx"), opened(rewritten(escape)):
        pass


def test_hashes_that_fit_do_not_make_a_model(rewritten):
    def replace(entries):
        entries["model.onnx"] = b"not a model"
        rehash(entries)

    with pytest.raises(DataError, match=r"model.onnx"), opened(rewritten(replace)):
        pass


def test_expected_outputs_do_not_depend_on_where_8_bit_sums_saturate(net_pack, int8_net):
    from edgeq.device.expectation import UNSATURATED
    from edgeq.runtime.session import Session, SessionConfig

    sample = models.images(1)[0]
    with zipfile.ZipFile(net_pack) as archive, archive.open("expected/000/0.npy") as stream:
        packed = np.load(stream)
    wide = Session(int8_net, SessionConfig(entries=UNSATURATED)).run(sample)["scores"]
    assert np.array_equal(packed, wide)
