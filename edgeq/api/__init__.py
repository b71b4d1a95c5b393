"""The Python API. Every command of the command line is one call of it."""

from edgeq.api.inspecting import Inspection, inspect
from edgeq.api.quantize_pass import QuantizePass
from edgeq.api.quantizing import quantize
from edgeq.api.results import QuantizationResult, ValidationResult
from edgeq.api.validating import validate

__all__ = [
    "Inspection",
    "QuantizationResult",
    "QuantizePass",
    "ValidationResult",
    "inspect",
    "quantize",
    "validate",
]
