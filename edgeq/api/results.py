"""What the API hands back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import RecipeError, ValidationFailed, nearest
from edgeq.graph import saver
from edgeq.report import html

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.api.on_device import OnDevice
    from edgeq.graph.saver import SavedModel
    from edgeq.quantization.plan import QuantPlan
    from edgeq.recipe import Recipe
    from edgeq.report import Report
    from edgeq.report.details import Details
    from edgeq.report.frontier import FrontierReport
    from edgeq.report.optimization import OptimizationReport
    from edgeq.validation.points import Point


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """A quantized model that has been run, and what that showed.

    Attributes:
        model: The quantized model.
        plan: Every number of the quantization, and the decision on every node.
        report: What was done and measured.
        recipe: Makes the same model of the same data without searching.
        details: What the HTML report shows beyond that: ranges and histograms.
    """

    model: ir.Model
    plan: QuantPlan
    report: Report
    recipe: Recipe
    details: Details | None = None

    @property
    def passed(self) -> bool:
        """Whether validation found the result good."""
        return self.report.verdict.passed

    def json(self) -> str:
        """The report as JSON text, for programs."""
        return self.report.to_json() + "\n"

    def html(self, command: str | None = None) -> str:
        """The report as one HTML file that needs nothing else, for people.

        Args:
            command: The command that was run, to be shown.
        """
        return html.render(self.report.to_dict(), self.details, command)

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
        device: What a device made of the candidate; None where none was asked for.
    """

    report: Report
    device: OnDevice | None = None

    @property
    def passed(self) -> bool:
        """Whether every threshold was met."""
        return self.report.verdict.passed

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, with ``device`` where one was asked for."""
        there = {} if self.device is None else {"device": self.device.to_dict()}
        return {**self.report.to_dict(), **there}

    def json(self) -> str:
        """The report as JSON text, for programs."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def html(self, command: str | None = None) -> str:
        """The report as one HTML file; see :meth:`QuantizationResult.html`."""
        return html.render(self.report.to_dict(), None, command)


@dataclass(frozen=True, slots=True)
class OptimizationResult:
    """An optimized model that has been run against its original.

    Attributes:
        model: The optimized model.
        report: What was done and measured.
    """

    model: ir.Model
    report: OptimizationReport

    def json(self) -> str:
        """The report as JSON text, for programs."""
        return self.report.to_json() + "\n"

    def html(self, command: str | None = None) -> str:
        """The report as one HTML file; see :meth:`QuantizationResult.html`."""
        return html.render_optimization(self.report.to_dict(), command)

    def save(self, path: str | os.PathLike[str]) -> SavedModel:
        """Write the model, whole or not at all.

        Args:
            path: The file to write; never the one the original came from.

        Raises:
            ModelError: The file cannot be written.
        """
        return saver.save(self.model, path)


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The models that were made of one original, and which of them are worth having.

    Attributes:
        report: What was made and measured.
        made: Name of a point -> its model, and the recipe that makes it again with its scheme.
        costs: The document of a costs file, where costs were asked for.
    """

    report: FrontierReport
    made: Mapping[str, tuple[ir.Model, Recipe]]
    costs: str | None = None

    @property
    def passed(self) -> bool:
        """Whether a point keeps to the limit, where there is one."""
        return self.report.passed

    @property
    def points(self) -> tuple[Point, ...]:
        """All models, fp32 first."""
        return self.report.points

    @property
    def frontier(self) -> tuple[Point, ...]:
        """Those that no other one beats in score, time and size at once."""
        return self.report.frontier

    @property
    def chosen(self) -> Point | None:
        """The one that was picked; None without a limit, or where none keeps to it."""
        return next((each for each in self.points if each.name == self.report.chosen), None)

    def model(self, name: str | None = None) -> ir.Model:
        """The model of a point; see :meth:`save`."""
        return self._named(name)[0]

    def recipe(self, name: str | None = None) -> Recipe:
        """What makes the model of a point without searching; see :meth:`save`."""
        return self._named(name)[1]

    def json(self) -> str:
        """The report as JSON text, for programs."""
        return self.report.to_json() + "\n"

    def html(self, command: str | None = None) -> str:
        """The report as one HTML file; see :meth:`QuantizationResult.html`."""
        return html.render_frontier(self.report.to_dict(), command)

    def costs_json(self) -> str:
        """What each node takes in float and in integers, for ``--costs``.

        Raises:
            RecipeError: Nobody asked for it.
        """
        if self.costs is None:
            raise RecipeError(
                "costs were not kept", where="keep_costs", remedy="Call tune(keep_costs=True)"
            )
        return self.costs

    def save(self, path: str | os.PathLike[str], name: str | None = None) -> SavedModel:
        """Write the model of a point, whole or not at all.

        Args:
            path: The file to write; never the one the original came from.
            name: Of the point; None for the one that was picked.

        Raises:
            ValidationFailed: None was picked.
            RecipeError: There is no such point, or it is the original.
            ModelError: The file cannot be written.
        """
        return saver.save(self.model(name), path)

    def _named(self, name: str | None) -> tuple[ir.Model, Recipe]:
        wanted = self.report.chosen if name is None else name
        if wanted is None:
            reason = "there was no limit to pick by"
            if self.report.limit is not None:
                reason = self.report.limit.reason
            raise ValidationFailed(reason, remedy="Name a point, or give a limit that can be kept")
        if wanted not in self.made:
            raise RecipeError(
                f"no model is called {wanted!r}", where="name", remedy=nearest(wanted, self.made)
            )
        return self.made[wanted]
