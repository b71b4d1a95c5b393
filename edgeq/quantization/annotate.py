"""Which nodes run in integers, and which spec every value and weight of theirs gets.

Pure: reads the graph, the operator rules, the target profile and the recipe, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgeq.graph import constants
from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.ops import Constraint, Role
from edgeq.quantization.eligibility import Candidate, classify, judged, require_rules
from edgeq.quantization.fitting import holds
from edgeq.quantization.padding import channels_to_add
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.quantization.regions import Regions, grow
from edgeq.targets import PairSums
from edgeq.types import DerivedSpec, EdgeRef, FixedSpec, QuantSpec, SharedSpec, ValueRef

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx_ir as ir

    from edgeq.recipe import Recipe
    from edgeq.targets import TargetProfile
    from edgeq.types import Ref, Spec


_NARROW_BITS: Final = 8
"""Bits up to which a known range is covered to its end. With more its last step is left out, so
that scales are powers of two, 1/65536 for Sigmoid: QNN takes no others
(onnxruntime/quantization/execution_providers/qnn/quant_config.py)."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """The wanted specs.

    Attributes:
        specs: Per value or use.
        readers: For values that float nodes produce: the uses that read quantized; values that
            are not listed are read quantized by everybody.
        absorbed: Relu or Clip node -> the node whose quantized output replaces it.
        fused: Relu or Clip node -> the node that the target computes it with; it stays.
        paired: Signed weights whose products machines of the target may add in pairs.
        decisions: Per node that has an operator rule or counts as compute.
    """

    specs: Mapping[Ref, Spec]
    readers: Mapping[ValueRef, tuple[EdgeRef, ...]]
    absorbed: Mapping[str, str]
    decisions: Mapping[str, NodeDecision]
    fused: Mapping[str, str] = field(default_factory=dict)
    paired: frozenset[EdgeRef] = frozenset()

    @property
    def makers(self) -> Mapping[str, str]:
        """Relu or Clip node -> the node that makes what it writes, absorbed or fused."""
        return {**self.absorbed, **self.fused}

    @property
    def rounded(self) -> frozenset[str]:
        """Names of the values that carry a Q/DQ pair."""
        return frozenset(ref.name for ref in self.specs if isinstance(ref, ValueRef))

    def observed(self) -> tuple[ValueRef, ...]:
        """The values whose ranges calibration has to find."""
        return tuple(self.ranged())

    def ranged(self) -> dict[ValueRef, QuantSpec]:
        """Those values, and what is wanted of each."""
        return {
            ref: spec
            for ref, spec in self.specs.items()
            if isinstance(ref, ValueRef) and isinstance(spec, QuantSpec)
        }

    def spared(self) -> dict[ValueRef, QuantSpec]:
        """Values that need no range while their maker is in integers, and one if it is left float.

        Those are what the definition of an operator bounds, and what is looked up in a constant.
        """
        found: dict[ValueRef, QuantSpec] = {}
        for ref, spec in self.specs.items():
            if not isinstance(ref, ValueRef):
                continue
            if isinstance(spec, FixedSpec):
                found[ref] = QuantSpec(spec.dtype, spec.symmetric)
            elif isinstance(spec, SharedSpec) and isinstance(spec.source, EdgeRef):
                source = self.specs[spec.source]
                found |= {ref: source} if isinstance(source, QuantSpec) else {}
        return found


def annotate(
    model: ir.Model,
    target: TargetProfile,
    recipe: Recipe,
    excluded: Mapping[str, str] | None = None,
    bridged: Collection[str] = (),
) -> Annotations:
    """Decide what runs in integers on ``target``.

    Args:
        model: A prepared model; not changed.
        target: What can run in integers.
        recipe: The user's choices.
        excluded: Further node names to keep float, each with the reason for the report.
        bridged: Names of nodes to put into integers although the target profile calls their kernel
            costly, as the recipe's ``include`` does.

    Returns:
        Specs for every value, weight and bias of the nodes that will run in integers.

    Raises:
        RecipeError: The target has a row of an operator without a rule.
    """
    return Annotator(model, target, recipe).annotate(excluded, bridged)


class Annotator:
    """Annotates one model again and again, each time with other nodes left float.

    Args:
        model: A prepared model; it must not change as long as this is used.
        target: What can run in integers.
        recipe: The user's choices.

    Raises:
        RecipeError: The target has a row of an operator without a rule.
    """

    def __init__(self, model: ir.Model, target: TargetProfile, recipe: Recipe) -> None:
        require_rules(target)
        self._model = model
        self._target = target
        self._recipe = recipe
        self._nodes = nodes(model)
        self._verdicts: dict[frozenset[str], Mapping[str, Candidate | str]] = {}

    def annotate(
        self, excluded: Mapping[str, str] | None = None, bridged: Collection[str] = ()
    ) -> Annotations:
        """Decide what runs in integers, see :func:`annotate`."""
        candidates, decisions = classify(self._nodes, self._judged(bridged), excluded or {})
        regions = grow(candidates, self._target)
        writer = _SpecWriter(self._target, regions)
        for node in self._nodes:
            name = node_name(node)
            candidate = candidates.get(name)
            if candidate is None:
                continue
            form, reason = regions.form_of(candidate)
            decisions[name] = NodeDecision(
                name,
                node.op_type,
                form,
                reason,
                candidate.row.provider,
                respelled=candidate.row.respelled and form is NodeForm.STATIC,
                padded=_channels_to_add(candidate) if form is NodeForm.STATIC else 0,
            )
            writer.add(candidate, form)
        return Annotations(
            writer.specs,
            writer.readers(),
            regions.absorbed,
            decisions,
            regions.fused,
            frozenset(writer.paired),
        )

    def _judged(self, bridged: Collection[str]) -> Mapping[str, Candidate | str]:
        """What does not depend on what is left float."""
        key = frozenset(bridged)
        if key not in self._verdicts:
            self._verdicts[key] = judged(
                self._model, self._nodes, self._target, self._recipe, bridged
            )
        return self._verdicts[key]


def _channels_to_add(candidate: Candidate) -> int:
    return channels_to_add(candidate.node, candidate.row.channel_multiple)


class _SpecWriter:
    """Collects the specs of one node after the other."""

    def __init__(self, target: TargetProfile, regions: Regions) -> None:
        self.specs: dict[Ref, Spec] = {}
        self.paired: set[EdgeRef] = set()
        self._target = target
        self._regions = regions
        self._readers: dict[ValueRef, list[EdgeRef]] = {}
        self._activation = QuantSpec(target.activation, symmetric=target.activation_symmetric)

    def readers(self) -> dict[ValueRef, tuple[EdgeRef, ...]]:
        """Readers of the values that no integer node produces."""
        return {
            ref: tuple(edges)
            for ref, edges in self._readers.items()
            if ref.name not in self._regions.produced
        }

    def add(self, candidate: Candidate, form: NodeForm) -> None:
        if form is NodeForm.DYNAMIC:
            self._weights(candidate)
        elif form is NodeForm.STATIC:
            self._weights(candidate)
            self._activations(candidate)
            self._bias(candidate)
            self._outputs(candidate)

    def _weights(self, candidate: Candidate) -> None:
        node = candidate.node
        for index, value in enumerate(node.inputs):
            if value is None or candidate.rule.role(index) is not Role.WEIGHT:
                continue
            tensor = constants.tensor(value)
            if tensor is None:
                self._read(node, index, value)
                continue
            ref, spec = EdgeRef(node_name(node), index), self._weight(candidate, len(tensor.shape))
            self.specs[ref] = spec
            if spec.dtype.signed and self._pairs(candidate):
                self.paired.add(ref)

    def _pairs(self, candidate: Candidate) -> bool:
        """Whether products of the node may be added in 16 bits."""
        if self._target.pair_sums is PairSums.EXACT or candidate.rule.reduction is None:
            return False
        return not any(holds(each, candidate.node) for each in candidate.row.exact_sums)

    def _weight(self, candidate: Candidate, rank: int) -> QuantSpec:
        """A scale for each channel where rule, kernel and target have one."""
        row, axis_of = candidate.row, candidate.rule.weight_axis
        fine = axis_of is not None and row.per_channel and self._target.per_channel
        return QuantSpec(
            row.weight or self._target.weight,
            symmetric=True,
            axis=axis_of(candidate.node, rank) if fine and axis_of is not None else None,
            reduce_range=self._target.reduce_range,
        )

    def _activations(self, candidate: Candidate) -> None:
        node = candidate.node
        for index, value in enumerate(node.inputs):
            if value is None or candidate.rule.role(index) is not Role.ACTIVATION:
                continue
            if constants.is_constant(value):
                self.specs[EdgeRef(node_name(node), index)] = self._activation
            else:
                self._read(node, index, value)

    def _read(self, node: ir.Node, index: int, value: ir.Value) -> None:
        ref = ValueRef(name_of(value))
        self.specs.setdefault(ref, self._activation)
        self._readers.setdefault(ref, []).append(EdgeRef(node_name(node), index))

    def _bias(self, candidate: Candidate) -> None:
        node = candidate.node
        if not self._target.integer_bias:
            return
        for index, value in enumerate(node.inputs):
            if value is None or candidate.rule.role(index) is not Role.BIAS:
                continue
            data = node.inputs[0]
            if data is not None:
                name = node_name(node)
                self.specs[EdgeRef(name, index)] = DerivedSpec(
                    ValueRef(name_of(data)), EdgeRef(name, 1)
                )

    def _outputs(self, candidate: Candidate) -> None:
        rule, node = candidate.rule, candidate.node
        source = node.inputs[0] if node.inputs else None
        for value in self._regions.quantized_outputs(candidate):
            ref = ValueRef(name_of(value))
            if rule.output is Constraint.FIXED and rule.fixed_range is not None:
                low, high = rule.fixed_range
                spec = self._activation
                if spec.dtype.bits > _NARROW_BITS:
                    high -= (high - low) / 2**spec.dtype.bits
                self.specs[ref] = FixedSpec(spec.dtype, low, high, symmetric=spec.symmetric)
            elif rule.output is Constraint.SAME_AS_INPUT and source is not None:
                constant = constants.is_constant(source)
                shared = EdgeRef(node_name(node), 0) if constant else ValueRef(name_of(source))
                self.specs[ref] = SharedSpec(shared)
            else:
                self.specs[ref] = self._activation
