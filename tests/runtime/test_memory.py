"""Memory that nobody uses goes back, and data that was unmapped is there when it is asked for."""

import numpy as np
import onnx_ir as ir
import pytest

from edgeq.runtime.memory import hand_back, let_go


@pytest.fixture
def stored(tmp_path):
    data = np.arange(4096, dtype=np.float32)
    data.tofile(tmp_path / "weights.data")
    tensor = ir.ExternalTensor(
        "weights.data", 0, data.nbytes, ir.DataType.FLOAT, shape=ir.Shape([4096]), name="w",
        base_dir=tmp_path,
    )  # fmt: skip
    return tensor, data


def test_data_is_read_again_after_it_was_let_go(stored):
    tensor, data = stored
    assert np.array_equal(tensor.numpy(), data)
    let_go(tensor, None, ir.tensor(data))
    assert tensor.raw is None
    assert np.array_equal(tensor.numpy(), data)


def test_data_that_somebody_looks_at_stays(stored):
    tensor, data = stored
    seen = tensor.numpy()
    let_go(tensor)
    assert np.array_equal(seen, data)


def test_freed_memory_can_be_handed_back_at_any_time():
    kept = np.ones(1 << 20)
    hand_back()
    assert kept.sum() == 1 << 20
