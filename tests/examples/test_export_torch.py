"""The export example, run as a user runs it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import edgeq

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

EXAMPLE = Path(__file__).parents[2] / "examples" / "export_torch.py"

# torch's exporter is noisy on some versions, and none of it is edgeq's.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("export_torch", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def program(example):
    torch.manual_seed(0)
    return example.export(example.Detector())


def test_the_script_leaves_a_validated_file(tmp_path):
    file = tmp_path / "detector.int8.onnx"
    done = subprocess.run(
        [sys.executable, EXAMPLE, file], check=True, capture_output=True, text=True
    )
    assert "good" in done.stdout
    assert "QuantizeLinear" in _types(file)


def test_an_exported_program_goes_straight_in(example, program, tmp_path):
    before = program.model_proto.SerializeToString(deterministic=True)
    file = tmp_path / "detector.int8.onnx"
    result = example.quantize_program(program, example.images(16, seed=1), file)
    assert result.report.coverage.ratio > 0.9
    assert program.model_proto.SerializeToString(deterministic=True) == before
    assert edgeq.validate(program, file, example.images(8, seed=2)).passed


def test_quantization_is_a_pass_among_others(example, program):
    quantized = example.quantize_in_pipeline(program, example.images(16, seed=1))
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph}
    assert edgeq.validate(program, quantized, example.images(8, seed=2)).passed


def test_the_batch_stays_free(example, program):
    quantized = example.quantize_in_pipeline(program, example.images(8, seed=1))
    batch = [{"image": torch.zeros(5, 3, 64, 64).numpy() + 0.5}]
    assert (
        edgeq.validate(program, quantized, batch, thresholds=edgeq.Thresholds()).report.samples == 1
    )


def _types(file):
    return {node.op_type for node in onnx.load(file).graph.node}
