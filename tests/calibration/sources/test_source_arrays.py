"""NumPy files are fed as they are, one sample at a time, and never unpickled."""

import contextlib
import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

X = InputSpec("x", np.dtype(np.float32), ("n", 4))
Y = InputSpec("y", np.dtype(np.int64), ())


def rows(count=3):
    return np.arange(count * 4, dtype=np.float32).reshape(count, 1, 4)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


def test_a_folder_of_npy_feeds_one_file_a_sample(tmp_path):
    for index, row in enumerate(rows()):
        np.save(tmp_path / f"{index}.npy", row)
    source = open_source(tmp_path, [X])
    assert [s["x"].tolist() for s in source] == rows().tolist()
    assert source.length_hint() == 3
    assert source.description == f"3 .npy files in {tmp_path}/"


def test_npy_files_need_a_model_with_one_input(tmp_path):
    np.save(tmp_path / "a.npy", rows())
    for data in (tmp_path, tmp_path / "a.npy"):
        with pytest.raises(DataError, match=r"2 inputs.*\.npz.*x, y"):
            open_source(data, [X, Y])


def test_one_npy_is_stacked_along_axis_0(tmp_path):
    np.save(tmp_path / "a.npy", rows())
    source = open_source(str(tmp_path / "a.npy"), [X], max_samples=2)
    assert [s["x"].tolist() for s in source] == rows()[:2].tolist()
    assert source.length_hint() == 2


def test_a_folder_of_npz_feeds_arrays_by_name(tmp_path):
    for index, row in enumerate(rows()):
        np.savez(tmp_path / f"{index}.npz", x=row, y=np.int64(index), label_digit=index * 2)
    source = open_source(tmp_path, [X, Y], max_samples=2)
    assert [(s["x"].tolist(), int(s["y"])) for s in source] == [
        (rows()[0].tolist(), 0),
        (rows()[1].tolist(), 1),
    ]
    assert source.labels["digit"].tolist() == [0, 2]


def test_labels_that_change_their_shape_are_refused(tmp_path):
    np.savez(tmp_path / "0.npz", x=rows()[0], label_boxes=np.zeros(2))
    np.savez(tmp_path / "1.npz", x=rows()[0], label_boxes=np.zeros(3))
    source = open_source(tmp_path, [X])
    assert len(list(source)) == 2
    with pytest.raises(DataError, match="label_boxes"):
        _ = source.labels


def test_calib_toml_beside_arrays_is_said_to_be_unused(tmp_path):
    np.savez(tmp_path / "0.npz", x=rows()[0])
    (tmp_path / "calib.toml").write_text("mean = 1")
    assert open_source(tmp_path, [X]).assumptions == (
        "calib.toml is not used: arrays are fed as they are",
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_npz_is_stacked_along_axis_0(tmp_path, save):
    save(
        tmp_path / "a.npz",
        x=rows(),
        y=np.arange(3),
        label_digit=np.array([7, 8, 9]),
        label_alphabet=np.array(list("abcdefg")),
        label_task="digits",
    )
    source = open_source(tmp_path / "a.npz", [X, Y], max_samples=2)
    assert [(s["x"].tolist(), int(s["y"])) for s in source] == [
        (rows()[0].tolist(), 0),
        (rows()[1].tolist(), 1),
    ]
    assert source.labels["digit"].tolist() == [7, 8]
    assert len(source.labels["alphabet"]) == 7
    assert source.labels["task"] == "digits"


def test_an_input_called_label_something_is_an_input(tmp_path):
    np.savez(tmp_path / "a.npz", label_x=rows())
    source = open_source(tmp_path / "a.npz", [InputSpec("label_x", X.dtype, X.shape)])
    assert len(list(source)) == 3
    assert source.labels == {}


@given(
    st.data(),
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0),
    st.booleans(),
    st.sampled_from(["<f4", ">f8", "<i8", "|u1"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_stack_is_read_as_numpy_would(tmp_path, data, shape, fortran, dtype):
    values = data.draw(hnp.arrays(np.uint8, shape)).astype(dtype)
    np.savez_compressed(tmp_path / "a.npz", x=np.asarray(values, order="F" if fortran else "C"))
    want = np.dtype(dtype).newbyteorder("=")
    source = open_source(tmp_path / "a.npz", [InputSpec("x", want, (None,) * (len(shape) - 1))])
    if shape[0]:
        fed = [sample["x"] for sample in source]
        assert all(array.dtype == want for array in fed)
        assert np.array_equal(np.stack(fed), values)
    else:
        with pytest.raises(DataError, match="no samples"):
            list(source)


def test_a_stack_is_never_in_memory_as_a_whole(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((64, 1 << 18), np.float32))
    np.save(tmp_path / "a.npy", np.zeros((64, 1 << 18), np.float32))
    spec = InputSpec("x", np.dtype(np.float32), (1 << 18,))
    for name in ("a.npz", "a.npy"):
        tracemalloc.start()
        count = sum(1 for _ in open_source(tmp_path / name, [spec]))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 64
        assert peak < 8 << 20


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((3, 4)), "y": np.zeros(2)}, "differ in the number of samples.*x 3, y 2"),
        ({"x": np.zeros((3, 4)), "y": np.float32(1)}, "'y' is a single number"),
        ({"label_a": np.zeros(3)}, "no arrays to feed"),
        ({}, "no arrays to feed"),
    ],
)
def test_a_file_that_is_not_stacked_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=rf"a\.npz: .*{said}"):
        open_source(tmp_path / "a.npz", [X, Y])


def test_a_single_number_is_not_a_stack(tmp_path):
    np.save(tmp_path / "a.npy", np.float32(1))
    with pytest.raises(DataError, match="a single number"):
        open_source(tmp_path / "a.npy", [X])


def test_a_sample_that_does_not_fit_is_named_by_file_and_number(tmp_path):
    stack = rows()
    stack[1, 0, 2] = np.nan
    np.savez(tmp_path / "a.npz", x=stack)
    with pytest.raises(DataError, match=r"a\.npz sample 1: input 'x' holds 1 of 4"):
        list(open_source(tmp_path / "a.npz", [X]))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("stacked", [True, False])
def test_pickles_are_refused_and_not_run(tmp_path, suffix, stacked):
    path = tmp_path / f"a.{suffix}"
    payload = np.array([Bomb()], dtype=object)
    if suffix == "npy":
        np.save(path, payload, allow_pickle=True)
    else:
        np.savez(path, x=payload)
    with pytest.raises(DataError, match=rf"a\.{suffix}: the file cannot be read"):
        list(open_source(path if stacked else tmp_path, [X]))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("keep", [0, 5, 40, 200])
def test_a_truncated_file_is_named(tmp_path, suffix, stacked, keep):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, np.zeros((8, 1, 4), np.float32))
    else:
        np.savez(path, x=np.zeros((8, 1, 4), np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"a\.{suffix}: the file cannot be read"):
        list(open_source(path if stacked else tmp_path, [X]))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_file_is_an_error_of_the_data_and_no_crash(tmp_path, data):
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    buffer = io.BytesIO()
    save(buffer, x=rows())
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.npz").write_bytes(content)
    for source in (tmp_path / "a.npz", tmp_path):
        with contextlib.suppress(DataError):
            list(open_source(source, [X]))


def test_a_header_that_claims_more_than_there_is_is_not_believed(tmp_path):
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        npy, {"shape": (1 << 40, 4), "fortran_order": False, "descr": "<f4"}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy.getvalue())
    (tmp_path / "a.npy").write_bytes(npy.getvalue())
    for name in ("a.npz", "a.npy"):
        with pytest.raises(DataError, match="cannot be read"):
            open_source(tmp_path / name, [X])
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(open_source(tmp_path, [X]))
