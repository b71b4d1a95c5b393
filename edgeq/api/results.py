"""What the API hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import ValidationFailed
from edgeq.graph import saver

if TYPE_CHECKING:
    import os

    import onnx_ir as ir

    from edgeq.graph.saver import SavedModel
    from edgeq.quantization.plan import QuantPlan
    from edgeq.report import Report
    from edgeq.report.optimization import OptimizationReport


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """A quantized model that has been run, and what that showed.

    Attributes:
        model: The quantized model.
        plan: Every number of the quantization, and the decision on every node.
        report: What was done and measured.
    """

    model: ir.Model
    plan: QuantPlan
    report: Report

    @property
    def passed(self) -> bool:
        """Whether validation found the result good."""
        return self.report.verdict.passed

    def save(self, path: str | os.PathLike[str], *, even_if_failed: bool = False) -> SavedModel:
        """Write the model, whole or not at all.

        Args:
            path: The file to write; never the one the original came from.
            even_if_failed: Write a model that missed a threshold, too.

        Raises:
            ValidationFailed: It missed a threshold.
            ModelError: The file cannot be written.
        """
        if not self.passed and not even_if_failed:
            raise ValidationFailed(
                "; ".join(self.report.verdict.failures),
                remedy="Nothing was written. Give more or better calibration data, exclude the "
                "worst layers of the report, or ask for the file all the same (--keep-best)",
            )
        return saver.save(self.model, path)


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """How a candidate compares with its reference.

    Attributes:
        report: What was measured.
    """

    report: Report

    @property
    def passed(self) -> bool:
        """Whether every threshold was met."""
        return self.report.verdict.passed


@dataclass(frozen=True, slots=True)
class OptimizationResult:
    """An optimized model that has been run against its original.

    Attributes:
        model: The optimized model.
        report: What was done and measured.
    """

    model: ir.Model
    report: OptimizationReport

    def save(self, path: str | os.PathLike[str]) -> SavedModel:
        """Write the model, whole or not at all.

        Args:
            path: The file to write; never the one the original came from.

        Raises:
            ModelError: The file cannot be written.
        """
        return saver.save(self.model, path)
