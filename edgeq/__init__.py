"""edgeq makes trained ONNX models small and fast on edge devices, and proves it.

The names below are the Python API; each is imported when it is first used, so that ``import edgeq``
is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeq.api import (
        CalibrationTable,
        Decoded,
        DeviceResult,
        Evaluated,
        Guidance,
        Inspection,
        OptimizationResult,
        QuantizationResult,
        QuantizePass,
        TuningResult,
        ValidationResult,
        calibrate,
        decode,
        evaluate,
        guide,
        inspect,
        load_table,
        merge_tables,
        optimize,
        pack,
        quantize,
        run,
        tune,
        validate,
    )
    from edgeq.errors import EdgeqError
    from edgeq.recipe import Recipe, load_recipe
    from edgeq.validation.verdict import Thresholds

_HOMES = {
    "CalibrationTable": "edgeq.api",
    "Decoded": "edgeq.api",
    "DeviceResult": "edgeq.api",
    "EdgeqError": "edgeq.errors",
    "Evaluated": "edgeq.api",
    "Guidance": "edgeq.api",
    "Inspection": "edgeq.api",
    "OptimizationResult": "edgeq.api",
    "QuantizationResult": "edgeq.api",
    "QuantizePass": "edgeq.api",
    "Recipe": "edgeq.recipe",
    "Thresholds": "edgeq.validation.verdict",
    "TuningResult": "edgeq.api",
    "ValidationResult": "edgeq.api",
    "calibrate": "edgeq.api",
    "decode": "edgeq.api",
    "evaluate": "edgeq.api",
    "guide": "edgeq.api",
    "inspect": "edgeq.api",
    "load_recipe": "edgeq.recipe",
    "load_table": "edgeq.api",
    "merge_tables": "edgeq.api",
    "optimize": "edgeq.api",
    "pack": "edgeq.api",
    "quantize": "edgeq.api",
    "run": "edgeq.api",
    "tune": "edgeq.api",
    "validate": "edgeq.api",
}

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        # Reading the installed metadata takes longer than everything else here together.
        return import_module("importlib.metadata").version("edgeq")
    raise AttributeError(f"module 'edgeq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
