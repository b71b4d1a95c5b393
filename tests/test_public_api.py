"""What ``import edgeq`` offers, and what it costs."""

import subprocess
import sys

import pytest

import edgeq

NAMES = {
    "CalibrationTable",
    "Decoded",
    "DeviceResult",
    "EdgeqError",
    "Evaluated",
    "Guidance",
    "Inspection",
    "OptimizationResult",
    "QuantizationResult",
    "QuantizePass",
    "Recipe",
    "Thresholds",
    "TuningResult",
    "ValidationResult",
    "calibrate",
    "decode",
    "evaluate",
    "guide",
    "inspect",
    "load_recipe",
    "load_table",
    "merge_tables",
    "optimize",
    "pack",
    "quantize",
    "run",
    "tune",
    "validate",
}


def test_the_public_names_are_these():
    assert set(edgeq.__all__) == NAMES
    assert set(dir(edgeq)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there(name):
    assert callable(getattr(edgeq, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        edgeq.quantise  # noqa: B018


def test_importing_it_imports_neither_onnx_nor_onnxruntime():
    code = (
        "import sys, edgeq, edgeq.recipe, edgeq.calibration\n"
        "print([m for m in ('onnx', 'onnx_ir', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
