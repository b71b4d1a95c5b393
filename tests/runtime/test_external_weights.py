"""Weights in files of their own, below and beyond what one message holds."""

import models
import numpy as np
import onnx_ir as ir

from edgeq.graph import loader
from edgeq.runtime.session import Session


def test_a_model_with_external_data_runs_wherever_the_process_is(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    stored = ir.from_proto(models.mlp())
    ir.save(stored, folder / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    monkeypatch.chdir(tmp_path)
    loaded = loader.load(folder / "m.onnx").model
    sample = models.rows(1)[0]
    (wanted,) = Session(ir.from_proto(models.mlp())).run(sample).values()
    assert np.array_equal(Session(loaded).run(sample)["y"], wanted)
    tensors = [value.const_value for value in loaded.graph.initializers.values()]
    assert all(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)


def test_weights_that_somebody_still_looks_at_can_be_run(tmp_path):
    """Sessions once unmapped weights from under whoever was learning from them."""
    ir.save(
        ir.from_proto(models.mlp()),
        tmp_path / "m.onnx",
        external_data="m.data",
        size_threshold_bytes=0,
    )
    loaded = loader.load(tmp_path / "m.onnx").model
    looked_at = {
        name: value.const_value.numpy() for name, value in loaded.graph.initializers.items()
    }
    before = {name: array.copy() for name, array in looked_at.items()}
    assert Session(loaded).run(models.rows(1)[0])
    for name, array in looked_at.items():
        np.testing.assert_array_equal(array, before[name])
