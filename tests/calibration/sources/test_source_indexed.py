"""Samples that are not wanted are not read where each can be found by itself."""

import numpy as np
import onnx
import pytest

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

SPEC = [InputSpec("x", np.dtype(np.float32), (1, None))]
COUNT = 6


def arrays():
    return [np.full((1, 3), index, np.float32) for index in range(COUNT)]


def write_npy(folder):
    for index, array in enumerate(arrays()):
        np.save(folder / f"{index}.npy", array)
    return folder


def write_npz(folder):
    for index, array in enumerate(arrays()):
        np.savez(folder / f"{index}.npz", x=array)
    return folder


def write_tests(folder):
    for index, array in enumerate(arrays()):
        (folder / f"test_data_set_{index}").mkdir()
        tensor = onnx.numpy_helper.from_array(array)
        (folder / f"test_data_set_{index}" / "input_0.pb").write_bytes(tensor.SerializeToString())
    return folder


def write_stack(folder):
    np.save(folder / "stack.npy", np.stack(arrays()))
    return folder / "stack.npy"


def write_archive(folder):
    np.savez_compressed(folder / "stack.npz", x=np.stack(arrays()))
    return folder / "stack.npz"


FOLDERS = [write_npy, write_npz, write_tests]
ALL = [*FOLDERS, write_stack, write_archive, lambda _: [{"x": each} for each in arrays()]]


def read(data, wanted, **options):
    source = open_source(data, SPEC, **options)
    return {index: float(sample["x"][0, 0]) for index, sample in source.indexed(wanted)}


@pytest.mark.parametrize("write", ALL)
def test_the_wanted_samples_come_with_their_index(write, tmp_path):
    data = write(tmp_path)
    assert read(data, lambda i: i % 4 == 1) == {1: 1.0, 5: 5.0}
    assert read(data, lambda i: i % 4 == 1, max_samples=3) == {1: 1.0}
    assert read(data, lambda _: True) == dict(enumerate(map(float, range(COUNT))))


@pytest.mark.parametrize("write", FOLDERS)
def test_files_that_are_not_wanted_are_not_opened(write, tmp_path):
    data = write(tmp_path)
    for path in data.rglob("*"):
        if path.is_file() and "1" in path.relative_to(data).as_posix():
            path.write_bytes(b"damaged")
    assert list(read(data, lambda i: i != 1)) == [0, 2, 3, 4, 5]
    with pytest.raises(DataError):
        read(data, lambda _: True)


def test_pictures_that_are_not_wanted_are_not_decoded(tmp_path):
    from PIL import Image

    for index in range(4):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"damaged")
    spec = [InputSpec("x", np.dtype(np.float32), (1, 3, 8, 8))]
    source = open_source(tmp_path, spec)
    assert [index for index, _ in source.indexed(lambda i: i != 2)] == [0, 1, 3]


def test_wanting_none_is_no_error_but_having_none_is(tmp_path):
    assert read(write_npy(tmp_path), lambda _: False) == {}
    with pytest.raises(DataError, match="no samples"):
        read([], lambda _: True)
