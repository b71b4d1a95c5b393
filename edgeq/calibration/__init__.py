"""Calibration: from samples to a range for every value.

This module is the public contract for calibrators, built-in and third-party alike. It imports
neither onnx nor onnxruntime.
"""

from __future__ import annotations

from edgeq.calibration.contract import (
    CONTRACT,
    ENTRY_POINT_GROUP,
    CalibrationContext,
    Calibrator,
    StatisticKind,
)
from edgeq.calibration.histogram import Histogram
from edgeq.calibration.statistics import SampleView, Statistics

__all__ = [
    "CONTRACT",
    "ENTRY_POINT_GROUP",
    "CalibrationContext",
    "Calibrator",
    "Histogram",
    "SampleView",
    "StatisticKind",
    "Statistics",
]
