"""Calibration tables: files that say what they hold, and are believed only as far as they fit."""

import io
import json
import random
import time
import tracemalloc
import zipfile
from functools import reduce
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.archive import MANIFEST
from edgeq.calibration.collection import Collection
from edgeq.calibration.kept import KeptSamples
from edgeq.calibration.manifest import Facts
from edgeq.calibration.origin import Draw, Origin, ValueNote, sample_digest
from edgeq.calibration.packing import pack, unpack
from edgeq.calibration.table import CalibrationTable, load_table, merge, read_table, table_of
from edgeq.errors import CalibrationError

ALL = frozenset(StatisticKind)
ORIGIN = Origin("ab" * 32, "1:" + "cd" * 32, (), "cpu", ("head",), (), ())
NAMES = ("x", "y", "log")
FIRST = 4


def sample(index):
    return {
        "x": np.full((1, 3), index, np.float32),
        "half": np.full(2, index, ml_dtypes.bfloat16),
        "words": np.array([f"word {index}"], object),
        "count": np.array(index),
    }


FIRSTS = tuple(map(sample, range(FIRST)))


def collected(indices, seed=0):
    statistics = {name: Statistics(ALL) for name in NAMES[:2]}
    kept = KeptSamples(seed=seed)
    for index in indices:
        values = np.random.default_rng(index).standard_normal(50).astype(np.float32)
        statistics["x"].update(index, values)
        statistics["y"].update(index, np.maximum(values, 0))
        kept.offer(index, sample(index))
    return Collection(statistics, frozenset({"log"}), kept, np.array(indices, np.int32))


def facts(shard=(0, 1), length=100, seed=0, **changes):
    origin = Origin(**{**{f: getattr(ORIGIN, f) for f in ORIGIN.__slots__}, **changes})
    return Facts(
        origin=origin,
        draw=Draw(sample_digest(FIRSTS), length, None, seed),
        values=tuple(ValueNote(n, "Conv", ("Relu",), "uint8", False) for n in NAMES),
        shards=(shard[0],),
        shard_count=shard[1],
        description="samples of a test",
        assumptions=("one", "two"),
        versions={"edgeq": ("1",)},
    )


def table(shard=(0, 1), length=100, **changes):
    indices = range(shard[0], length, shard[1])
    return made(facts(shard, length, **changes), list(indices))


def made(known, indices, complete=True):
    return CalibrationTable(known, collected(indices), FIRSTS, complete)


def read(content):
    return read_table(io.BytesIO(content), "t.calib")


def test_a_table_comes_back_as_it_was(tmp_path):
    whole = table()
    whole.save(tmp_path / "t.calib")
    back = load_table(tmp_path / "t.calib")
    assert back.facts == whole.facts
    assert back.complete
    assert back.whole
    assert back.collection.infinite == {"log"}
    assert back.collection.indices.tolist() == list(range(100))
    for name, expected in whole.collection.statistics.items():
        got = back.collection.statistics[name].to_arrays()
        for key, array in expected.to_arrays().items():
            np.testing.assert_array_equal(got[key], array)
    for (index, got), (other, expected) in zip(
        back.collection.kept.items(), whole.collection.kept.items(), strict=True
    ):
        assert index == other
        assert list(got) == list(expected)
        for name, array in expected.items():
            assert got[name].dtype == array.dtype
            assert got[name].shape == array.shape
            assert got[name].tolist() == array.tolist()


def test_the_first_samples_are_there_whether_they_were_kept_or_not():
    late = read(made(facts((1, 2)), list(range(1, 400, 2))).to_bytes())
    assert set(range(FIRST)) - set(late.collection.kept.indices())
    for index, first in enumerate(late.first):
        assert first["x"].tolist() == sample(index)["x"].tolist()
        assert first["words"].tolist() == sample(index)["words"].tolist()


def test_equal_tables_are_equal_bytes(tmp_path):
    first = table().to_bytes()
    table().save(tmp_path / "t.calib")
    assert (tmp_path / "t.calib").read_bytes() == first
    assert read(first).to_bytes() == first


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "t.calib"
    path.write_text("older")
    monkeypatch.setattr(CalibrationTable, "_write", lambda *_: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(CalibrationError, match="cannot be written"):
        table().save(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_in_any_order_make_the_table_of_a_single_run(count):
    whole = table().to_bytes()
    shards = [read(table((number, count)).to_bytes()) for number in range(count)]
    for seed in range(3):
        random.Random(seed).shuffle(shards)
        assert merge(shards).to_bytes() == whole


@given(
    owners=st.lists(st.integers(0, 3), min_size=80, max_size=80), order=st.permutations(range(4))
)
@settings(max_examples=4, deadline=None, derandomize=True)
def test_any_parts_in_any_order_make_the_collection_of_a_single_run(owners, order):
    parts = [collected([i for i, owner in enumerate(owners) if owner == part]) for part in order]
    merged = table_of(facts(length=80), reduce(Collection.merge, parts), FIRSTS, complete=True)
    assert merged.to_bytes() == table(length=80).to_bytes()


def test_shards_merge_step_by_step():
    parts = [table((number, 4)) for number in range(4)]
    left = merge([parts[2], parts[0]], allow_partial=True)
    assert left.facts.shards == (0, 2)
    assert left.lacking() == "of 4 shards, these are missing: 1, 3"
    right = merge([parts[3], parts[1]], allow_partial=True)
    assert merge([right, read(left.to_bytes())]).to_bytes() == table().to_bytes()


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([(1, 3)], "these are missing: 2"),
        ([(1, 3), (1, 3)], "holds shard 1 of 3, and so does b"),
        ([(1, 2)], "the number of shards is 3"),
    ],
)
def test_shards_that_do_not_make_a_whole_are_named(others, said):
    tables = [table((0, 3)), *(table(shard) for shard in others)]
    with pytest.raises(CalibrationError, match=said):
        merge(tables, ["a", "b", "c"][: len(tables)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "00" * 32}, "the hash of the model is abababababab... in the one"),
        ({"target": "other"}, "the target is 'cpu' in the one and 'other' in the other"),
        ({"exclude": ()}, "exclude is 'head' in the one and empty in the other"),
        ({"preparation": "2:" + "00" * 32}, "the preparation of the graph is 1:cdcdcdcdcdcd..."),
    ],
)
def test_shards_of_different_runs_are_told_apart(changes, said):
    with pytest.raises(CalibrationError, match=said):
        merge([table((0, 2)), table((1, 2), **changes)])


def test_a_whole_table_merges_with_nothing():
    with pytest.raises(CalibrationError, match="holds all samples, and so does table 1"):
        merge([table(), table()])


def test_shards_that_leave_holes_are_refused():
    second = made(facts((1, 2)), [1, 3, 5])
    with pytest.raises(CalibrationError, match=r"47 samples are in none, the first .* number 7"):
        merge([table((0, 2)), second])


def test_an_unfinished_shard_is_merged_on_request_only():
    parts = [table((0, 2)), made(facts((1, 2)), [1, 3], complete=False)]
    with pytest.raises(CalibrationError, match="interrupted after 2 samples"):
        merge(parts)
    merged = merge(parts, allow_partial=True)
    assert not merged.whole
    assert merged.lacking() == "the run was interrupted after 52 of 100 samples"


def repacked(content, change):
    """The archive with members changed; None removes one."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return out.getvalue()


def with_manifest(content, edit):
    def change(name, data):
        if name != "manifest.json":
            return data
        manifest = json.loads(data)
        edit(manifest)
        return json.dumps(manifest)

    return repacked(content, change)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000, b"PK\x05\x06" + bytes(18)])
def test_other_files_are_no_tables(content):
    with pytest.raises(CalibrationError, match=r"t.calib: this is not a calibration table"):
        read(content)


def test_an_array_archive_is_no_table():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    with pytest.raises(CalibrationError, match="not a calibration table"):
        read(buffer.getvalue())


def test_a_newer_table_is_told_from_a_damaged_one():
    content = with_manifest(table(length=4).to_bytes(), lambda m: m.update(version=4))
    with pytest.raises(CalibrationError, match="version 4 of the format, this edgeq reads 3"):
        read(content)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("model"),
        lambda m: m.update(format="other"),
        lambda m: m.update(seed="0"),
        lambda m: m.update(complete=1),
        lambda m: m["shards"].update(held=[1]),
        lambda m: m["shards"].update(held=[]),
        lambda m: m["values"].pop(0),
        lambda m: m["values"].append(m["values"][0]),
        lambda m: m["values"][0].update(type="float32"),
        lambda m: m["kept"]["samples"].pop(),
        lambda m: m["kept"]["samples"][0].update(index=99),
        lambda m: m["kept"]["samples"][1].update(index=0),
        lambda m: m["kept"]["samples"][0]["inputs"][1].update(type="float16"),
        lambda m: m["kept"]["samples"][0]["inputs"][1].update(type="__doc__"),
        lambda m: m["kept"]["samples"][0]["inputs"].append({"name": "q", "type": "float32"}),
        lambda m: m["data"].update(length=-1),
        lambda m: m["data"].update(beginning_sha256="00" * 32),
        lambda m: m["first"].update(count=5),
    ],
)
def test_a_wrong_manifest_is_damage(edit):
    content = table(length=4).to_bytes()
    with pytest.raises(CalibrationError, match=r"t.calib: .*damaged") as caught:
        read(with_manifest(content, edit))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("samples", np.arange(4)),
        ("samples", np.array([0, 2, 1, 3], np.int32)),
        ("samples", np.array([-1, 0, 1, 2], np.int32)),
        ("statistics/count", np.array([200])),
        ("statistics/count", np.array([[200, 200]])),
        ("statistics/counts", np.zeros((3, 128), np.int64)),
        ("statistics/counts.offsets", np.array([0, 10, 5])),
        ("statistics/counts.offsets", np.array([0.0, 1.0, 2.0])),
        ("statistics/extrema", np.full(4, np.nan)),
        ("statistics/kinds", np.array(["x"] * 6)),
    ],
)
def test_arrays_that_do_not_fit_are_damage(name, array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = repacked(
        table(length=4).to_bytes(),
        lambda member, data: buffer.getvalue() if member == f"{name}.npy" else data,
    )
    with pytest.raises(CalibrationError, match=r"t.calib: .*damaged"):
        read(content)


@pytest.mark.parametrize(
    "name", ["samples", "statistics/count", "statistics/extrema", "inputs/2.1"]
)
def test_a_missing_array_is_damage(name):
    content = repacked(
        table(length=4).to_bytes(), lambda member, data: None if member == f"{name}.npy" else data
    )
    with pytest.raises(CalibrationError, match="damaged"):
        read(content)


def test_pickles_are_never_loaded():
    class Harm:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Harm()], object), allow_pickle=True)
    for name in ("samples.npy", "inputs/0.0.npy", "statistics/kinds.npy"):
        content = repacked(
            table(length=4).to_bytes(),
            lambda member, data, name=name: buffer.getvalue() if member == name else data,
        )
        with pytest.raises(CalibrationError, match="Python objects"):
            read(content)


def test_a_header_that_claims_more_than_is_there_allocates_nothing():
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    )
    content = repacked(
        table(length=4).to_bytes(),
        lambda member, data: buffer.getvalue() if member == "inputs/0.0.npy" else data,
    )
    tracemalloc.start()
    with pytest.raises(CalibrationError, match="length that its header says"):
        read(content)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_any_flipped_byte_is_noticed_or_harmless():
    content = table(length=6).to_bytes()
    rng = random.Random(0)
    for _ in range(150):
        position = rng.randrange(len(content))
        broken = bytearray(content)
        broken[position] ^= 1 << rng.randrange(8)
        try:
            read(bytes(broken))
        except CalibrationError as error:
            assert error.remedy  # noqa: PT017


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CalibrationError, match="No such file"):
        load_table(tmp_path / "none.calib")


def test_a_table_of_many_values_is_small_and_quick():
    rng = np.random.default_rng(0)
    statistics = []
    for number in range(500):
        each = Statistics(ALL)
        for index in range(8):
            each.update(index, rng.standard_normal(64).astype(np.float32) * (number + 1))
        statistics.append(each)
    start = time.perf_counter()
    packed = pack(statistics)
    back = unpack(packed, 500)
    # Generous: this is to notice work that grows with the square of the values.
    assert time.perf_counter() - start < 5
    assert len(packed) < 30
    assert [each.count for each in back] == [512] * 500


def test_no_values_pack_to_nothing():
    assert pack([]) == {}
    assert unpack({}, 0) == []


def test_the_documented_keys_are_those_that_are_stored():
    text = (Path(__file__).parents[2] / "docs" / "table.md").read_text(encoding="utf-8")
    keys = Statistics(ALL).to_arrays()
    assert all(f"`{key}`" in text for key in keys), keys
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(table(length=4).to_bytes())).read(MANIFEST))
    assert all(f"`{key}" in text for key in manifest), list(manifest)
