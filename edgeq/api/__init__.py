"""The Python API. Every command of the command line is one call of it."""

from edgeq.api.calibrating import calibrate
from edgeq.api.decoding import Decoded, decode
from edgeq.api.exporting import Exported, export
from edgeq.api.guiding import Guidance, guide
from edgeq.api.inspecting import Inspection, inspect
from edgeq.api.optimizing import optimize
from edgeq.api.packing import Packed, pack
from edgeq.api.quantize_pass import QuantizePass
from edgeq.api.quantizing import quantize
from edgeq.api.results import (
    OptimizationResult,
    QuantizationResult,
    TuningResult,
    ValidationResult,
)
from edgeq.api.running import DeviceFailure, devices, run, run_all, set_up
from edgeq.api.scoring import Evaluated, evaluate
from edgeq.api.tables import merge_tables
from edgeq.api.tuning import tune
from edgeq.api.validating import validate
from edgeq.calibration.table import CalibrationTable, load_table
from edgeq.device.result import DeviceResult

__all__ = [
    "CalibrationTable",
    "Decoded",
    "DeviceFailure",
    "DeviceResult",
    "Evaluated",
    "Exported",
    "Guidance",
    "Inspection",
    "OptimizationResult",
    "Packed",
    "QuantizationResult",
    "QuantizePass",
    "TuningResult",
    "ValidationResult",
    "calibrate",
    "decode",
    "devices",
    "evaluate",
    "export",
    "guide",
    "inspect",
    "load_table",
    "merge_tables",
    "optimize",
    "pack",
    "quantize",
    "run",
    "run_all",
    "set_up",
    "tune",
    "validate",
]
