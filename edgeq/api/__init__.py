"""The Python API. Every command of the command line is one call of it."""

from edgeq.api.inspecting import Inspection, inspect
from edgeq.api.optimizing import optimize
from edgeq.api.quantize_pass import QuantizePass
from edgeq.api.quantizing import quantize
from edgeq.api.results import OptimizationResult, QuantizationResult, ValidationResult
from edgeq.api.validating import validate

__all__ = [
    "Inspection",
    "OptimizationResult",
    "QuantizationResult",
    "QuantizePass",
    "ValidationResult",
    "inspect",
    "optimize",
    "quantize",
    "validate",
]
