"""ONNX test data feeds the inputs by position."""

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from onnx import numpy_helper

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

X = InputSpec("x", np.dtype(np.float32), (1, 4))
Y = InputSpec("y", np.dtype(np.int64), ())


def write(folder, *arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for index, array in enumerate(arrays):
        tensor = numpy_helper.from_array(array, "any")
        (folder / f"input_{index}.pb").write_bytes(tensor.SerializeToString())
    (folder / "output_0.pb").write_bytes(b"")


def sample(value):
    return np.full((1, 4), value, np.float32), np.array(value)


def test_sets_come_in_the_order_of_their_numbers(tmp_path):
    for index in (10, 2, 0):
        write(tmp_path / f"test_data_set_{index}", *sample(index))
    (tmp_path / "model.onnx").write_bytes(b"")
    source = open_source(tmp_path, [X, Y])
    assert [int(s["y"]) for s in source] == [0, 2, 10]
    assert source.length_hint() == 3
    assert "order of the model" in source.assumptions[0]
    assert source.description == f"3 ONNX test data sets in {tmp_path}/"


def test_one_set_may_be_named_itself(tmp_path):
    write(tmp_path / "test_data_set_0", *sample(5))
    (only,) = open_source(tmp_path / "test_data_set_0", [X, Y])
    assert only["x"].tolist() == [[5] * 4]


def test_a_tensor_too_many_is_refused(tmp_path):
    write(tmp_path / "test_data_set_0", *sample(5))
    with pytest.raises(DataError, match=r"input_1\.pb is for an input.*wants: x"):
        list(open_source(tmp_path, [X]))


def test_a_tensor_too_few_is_refused(tmp_path):
    write(tmp_path / "test_data_set_0", sample(5)[0])
    with pytest.raises(DataError, match=r"test_data_set_0: .*no array for the input 'y'"):
        list(open_source(tmp_path, [X, Y]))


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"hello world"])
def test_a_file_that_is_no_tensor_is_named(tmp_path, content):
    write(tmp_path / "test_data_set_0", *sample(5))
    (tmp_path / "test_data_set_0" / "input_1.pb").write_bytes(content)
    with pytest.raises(DataError, match=r"input_1\.pb: the file is not a readable TensorProto"):
        list(open_source(tmp_path, [X, Y]))


def test_a_tensor_that_reads_another_file_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    tensor = numpy_helper.from_array(sample(1)[0])
    onnx.external_data_helper.set_external_data(tensor, str(tmp_path / "secret"))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    write(tmp_path / "test_data_set_0")
    (tmp_path / "test_data_set_0" / "input_0.pb").write_bytes(tensor.SerializeToString())
    with pytest.raises(DataError, match="another file"):
        list(open_source(tmp_path, [X]))
