"""From specs and ranges to numbers. Pure: the plan it returns leaves nothing to decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import CalibrationError
from edgeq.graph import constants
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization import affine
from edgeq.quantization.padding import with_channels
from edgeq.quantization.pairs import (
    LIMIT,
    PairForm,
    PairNote,
    narrowed,
    reduction,
    unsigned,
    worst_sum,
)
from edgeq.quantization.plan import ActivationEntry, NodeForm, QuantPlan, WeightEntry
from edgeq.quantization.regions import clip_bounds
from edgeq.types import (
    DerivedSpec,
    EdgeRef,
    FixedSpec,
    QuantSpec,
    SharedSpec,
    TensorRange,
    ValueRef,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.quantization.annotate import Annotations
    from edgeq.types import Array, QuantParams, Ref


def resolve(
    model: ir.Model,
    annotations: Annotations,
    ranges: Mapping[str, TensorRange],
    *,
    weights: str = "minmax",
    pairs: PairForm = PairForm.FULL,
) -> QuantPlan:
    """Give every spec its numbers.

    Args:
        model: The prepared model that was annotated; not changed.
        annotations: The wanted specs.
        ranges: Value name -> range, for every value that :meth:`Annotations.observed` lists.
        weights: How the scales of weights are found; of :data:`~edgeq.recipe.WEIGHTS`.
        pairs: What to do about weights of which two products can saturate.

    Returns:
        The plan.

    Raises:
        CalibrationError: A range is missing.
    """
    resolver = _Resolver(
        model, annotations, ranges, _clipped(model, annotations), weights == "mse", pairs
    )
    everything = resolver.all_params()
    activations, constant = [], []
    dynamic: dict[str, list[WeightEntry]] = {}
    for ref, params in everything.items():
        if isinstance(ref, ValueRef):
            readers = annotations.readers.get(ref)
            activations.append(ActivationEntry(ref, params, readers))
        elif annotations.decisions[ref.node].form is NodeForm.DYNAMIC:
            dynamic.setdefault(ref.node, []).append(WeightEntry(ref, params))
        else:
            constant.append(WeightEntry(ref, params))
    return QuantPlan(
        activations=tuple(activations),
        weights=tuple(constant),
        dynamic={node: tuple(entries) for node, entries in dynamic.items()},
        dropped=tuple(annotations.absorbed),
        decisions=tuple(annotations.decisions.values()),
        pairs=tuple(resolver.notes),
    )


@dataclass(slots=True)
class _Resolver:
    model: ir.Model
    annotations: Annotations
    ranges: Mapping[str, TensorRange]
    clipped: Mapping[str, tuple[float, float]]
    least_error: bool
    pairs: PairForm
    notes: list[PairNote] = field(default_factory=list)

    def all_params(self) -> dict[Ref, QuantParams]:
        """Numbers of every ref. Weights before the biases that are derived from them."""
        by_name = {node_name(node): node for node in nodes(self.model)}
        found: dict[Ref, QuantParams] = {}
        for ref, spec in self.annotations.specs.items():
            if isinstance(ref, EdgeRef) and isinstance(spec, QuantSpec):
                data = _data(by_name, ref)
                params = _constant(data, spec, least_error=self.least_error)
                found[ref] = self._paired(ref, by_name[ref.node], data, params)
        for ref in self.annotations.specs:
            if isinstance(ref, ValueRef):
                found[ref] = self._activation(ref, found)
        for ref, spec in self.annotations.specs.items():
            if isinstance(ref, EdgeRef) and isinstance(spec, DerivedSpec):
                self._derive(ref, spec, by_name, found)
        self._check_absorbed(found)
        return found

    def _paired(self, ref: EdgeRef, node: ir.Node, data: Array, params: QuantParams) -> QuantParams:
        """The numbers of a weight, changed where two of its products would saturate."""
        order = reduction(node, ref.input) if ref in self.annotations.paired else None
        if order is None:
            return params
        data = with_channels(data, self.annotations.decisions[ref.node].padded)
        worst = worst_sum(affine.quantize(data, params), order)
        if worst <= LIMIT:
            return params
        self.notes.append(PairNote(ref.node, ref.input, worst, self.pairs))
        if self.pairs is PairForm.NARROW:
            return narrowed(params, data, order)
        return unsigned(params) if self.pairs is PairForm.UNSIGNED else params

    def _activation(
        self, ref: ValueRef, constant: Mapping[Ref, QuantParams], asked: tuple[ValueRef, ...] = ()
    ) -> QuantParams:
        """Numbers of a value; ``constant`` holds those of all constants."""
        spec = self.annotations.specs[ref]
        if isinstance(spec, SharedSpec):
            if isinstance(spec.source, EdgeRef):
                return constant[spec.source]
            if spec.source in asked:
                raise CalibrationError("its numbers are shared in a circle", where=f"value {ref}")
            return self._activation(spec.source, constant, (*asked, ref))
        if isinstance(spec, FixedSpec):
            bounds = TensorRange(spec.low, spec.high)
            return affine.params_for_range(bounds, QuantSpec(spec.dtype, spec.symmetric))
        if not isinstance(spec, QuantSpec):
            raise CalibrationError(f"no numbers follow from {spec}", where=f"value {ref}")
        if ref.name not in self.ranges:
            raise CalibrationError(
                "calibration never saw it",
                where=f"value {ref}",
                remedy="Feed samples that reach it, or exclude the nodes that read it",
            )
        return affine.params_for_range(self._alive(ref), spec)

    def _alive(self, ref: ValueRef) -> TensorRange:
        """The range of a value; where all samples made it zero, what an absorbed clip lets through.

        Zero alone says nothing of the scale, and the usual one would reach beyond the clip.
        """
        bounds = self.ranges[ref.name]
        clipped = self.clipped.get(ref.name)
        if clipped is None or bounds.low != 0.0 or bounds.high != 0.0:
            return bounds
        return TensorRange(max(clipped[0], -1.0), min(clipped[1], 1.0))

    def _derive(
        self,
        ref: EdgeRef,
        spec: DerivedSpec,
        by_name: Mapping[str, ir.Node],
        found: dict[Ref, QuantParams],
    ) -> None:
        """Numbers of a bias; where it would overflow, its weight's scales are raised first."""
        if not isinstance(spec.weight, EdgeRef):
            raise CalibrationError("a bias needs a constant weight", where=str(ref))
        input_scale = np.asarray(found[spec.input].scale)
        weight, bias = _data(by_name, spec.weight), _data(by_name, ref)
        raised = affine.weight_scale_for_bias(found[spec.weight], weight, bias, input_scale)
        found[spec.weight] = raised
        found[ref] = affine.bias_params(input_scale, raised)

    def _check_absorbed(self, found: Mapping[Ref, QuantParams]) -> None:
        """A range that reaches beyond a clip would change results: the plan must not say so."""
        for name, bounds in self.clipped.items():
            params = found.get(ValueRef(name))
            if params is not None and not affine.covers_clip(params, *bounds):
                raise CalibrationError(
                    f"the range chosen for it reaches beyond its bounds {bounds}",
                    where=f"value {name}",
                    remedy="This is a defect of the calibrator; choose another one",
                )


def _clipped(model: ir.Model, annotations: Annotations) -> dict[str, tuple[float, float]]:
    """The bounds of the values that absorbed Relu and Clip nodes make."""
    absorbed = [node for node in nodes(model) if node.name in annotations.absorbed]
    bounds = {node.outputs[0].name or "": clip_bounds(node) for node in absorbed}
    return {name: found for name, found in bounds.items() if found is not None}


def _data(by_name: Mapping[str, ir.Node], ref: EdgeRef) -> Array:
    data = constants.array(by_name[ref.node].inputs[ref.input])
    if data is None:
        raise CalibrationError("not a constant", where=str(ref))
    if not np.isfinite(data).all():
        source = by_name[ref.node].inputs[ref.input]
        raise CalibrationError(
            f"its constant {source.name if source else ref.input!r} holds NaN or Inf",
            where=f"node {ref.node}",
            remedy="Mend the model's weights, or exclude the node",
        )
    return data


def _constant(data: Array, spec: QuantSpec, *, least_error: bool) -> QuantParams:
    """Numbers of a weight (symmetric), or of a constant in an activation's place."""
    if spec.symmetric or spec.axis is not None:
        return affine.params_for_weight(data, spec, least_error=least_error)
    low, high = float(data.min(initial=0.0)), float(data.max(initial=0.0))
    return affine.params_for_range(TensorRange(low, high), spec)
