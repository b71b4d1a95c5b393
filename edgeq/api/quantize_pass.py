"""Quantization as a pass of onnx-ir, for anyone's pipeline of passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgeq.api.quantizing import quantize
from edgeq.errors import ValidationFailed

if TYPE_CHECKING:
    from edgeq.api.results import QuantizationResult


class QuantizePass(ir.passes.FunctionalPass):
    """Returns a quantized model; the one it is given stays as it is.

    Example::

        pipeline = ir.passes.Sequential(OtherPass(), edgeq.QuantizePass(samples))
        quantized = pipeline(model).model

    Args:
        calibration_data: As for :func:`edgeq.quantize`. A pass that runs twice needs data that
            can be read twice: a path or a list, not a generator.
        options: Further keyword arguments of :func:`edgeq.quantize`.

    Attributes:
        result: Of the last run: plan and report; None before it.
    """

    def __init__(self, calibration_data: object, **options: Any) -> None:
        super().__init__()
        self._data = calibration_data
        self._options = options
        self.result: QuantizationResult | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantize ``model``.

        Raises:
            ValidationFailed: The result missed a threshold.
            EdgeqError: The model or the data cannot be used.
        """
        self.result = quantize(model, self._data, **self._options)
        if not self.result.passed:
            raise ValidationFailed(
                "; ".join(self.result.report.verdict.failures),
                remedy="See the report in the pass's attribute 'result'",
            )
        return ir.passes.PassResult(self.result.model, modified=True)
