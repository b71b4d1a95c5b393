"""The quantized model with a switch at every rounding: which of them are on is chosen run by run.

One session then answers what each rounding costs at the outputs, alone or together with others,
without building a model for every question. Nothing fuses, so the arithmetic is float arithmetic on
rounded numbers; the sums of integer kernels differ from it by float rounding only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name, nodes, values
from edgeq.quantization import affine
from edgeq.types import EdgeRef, QuantType

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from edgeq.quantization.plan import ActivationEntry, QuantPlan, WeightEntry
    from edgeq.types import Array, QuantParams, Ref

_BIAS = 2
"""Input of Conv, ConvTranspose and Gemm."""


@dataclass(frozen=True, slots=True)
class Switched:
    """A model whose roundings can be turned on and off.

    Attributes:
        model: With one more input, a truth value, for every rounding that has a switch.
        switches: What is rounded -> name of the input that turns the rounding on: a value in all
            its readers, a weight in one node, or, for the input of a dynamic node, that use of it.
        behind: Value of the float model -> name of what all its readers get now.
    """

    model: ir.Model
    switches: Mapping[Ref, str]
    behind: Mapping[str, str]

    def feed(self, on: Iterable[Ref]) -> dict[str, Array]:
        """What to feed beside a sample so that just the roundings ``on`` happen."""
        wanted = set(on)
        return {name: np.array(ref in wanted) for ref, name in self.switches.items()}


class Kind(enum.Enum):
    """What is rounded."""

    WEIGHTS = "weights"
    """Constants, and the biases that come with them."""

    ACTIVATIONS = "activations"
    """What is computed: values, and the inputs of dynamic nodes."""


def with_switches(
    base: ir.Model, adjusted: ir.Model, plan: QuantPlan, kinds: Container[Kind] = tuple(Kind)
) -> Switched:
    """Build the model.

    Kernels are slower with weights that a switch decides on than with constants.

    Args:
        base: The float model; not changed.
        adjusted: The same with the weights and biases that are rounded: what
            :func:`edgeq.quantization.insert.insert` is given. The bias of a node comes with the
            rounding of its weight.
        plan: Its plan. Biases are not rounded: 32 bits lose nothing that could be measured.
        kinds: What gets switches; other roundings never happen.

    Raises:
        ModelError: The plan names nodes or values that the model does not have.
    """
    board = _Board(base.clone(), adjusted)
    if Kind.WEIGHTS in kinds:
        for entry in (*plan.weights, *chain.from_iterable(plan.dynamic.values())):
            if entry.params.dtype is not QuantType.INT32:
                board.weight(entry)
    if Kind.ACTIVATIONS in kinds:
        for node in plan.dynamic:
            board.dynamic(node)
        for activation in plan.activations:
            board.activation(activation)
    rewire.drop_unused_initializers(board.model)
    behind = {name: name_of(value) for name, value in board.behind.items()}
    return Switched(board.model, board.switches, behind)


class _Board:
    """Adds one rounding after the other."""

    def __init__(self, model: ir.Model, adjusted: ir.Model) -> None:
        self.model = model
        self.switches: dict[Ref, str] = {}
        self.behind: dict[str, ir.Value] = {}
        self._adjusted = {node_name(node): node for node in nodes(adjusted)}
        self._names = rewire.Names(model)
        self._nodes = {node_name(node): node for node in nodes(model)}
        self._values = values(model)

    def weight(self, entry: WeightEntry) -> None:
        node, index = self._node(entry.edge.node), entry.edge.input
        source, other = node.inputs[index], self._adjusted[entry.edge.node]
        data = constants.array(other.inputs[index])
        if data is None or source is None:
            raise ModelError("the plan quantizes no constant", where=str(entry.edge))
        rounded = affine.dequantize(affine.quantize(data, entry.params), entry.params)
        switch = self._switch(entry.edge)
        rounded_value = self._constant(f"{name_of(source)}_rounded", rounded.astype(data.dtype))
        self._choose_before(node, index, switch, rounded_value, source)
        self._bias(node, other, switch)

    def dynamic(self, name: str) -> None:
        node = self._node(name)
        source = node.inputs[0]
        if source is None or constants.is_constant(source):
            return
        quantize = ir.Node("", "DynamicQuantizeLinear", [source], num_outputs=3)
        back = ir.Node("", "DequantizeLinear", list(quantize.outputs))
        self._name(quantize, f"{name_of(source)}_dynamic")
        self._name(back, f"{name_of(source)}_rounded")
        _graph(node).insert_before(node, [quantize, back])
        self._choose_before(node, 0, self._switch(EdgeRef(name, 0)), back.outputs[0], source)

    def activation(self, entry: ActivationEntry) -> None:
        value = self._values.get(entry.value.name)
        if value is None:
            raise ModelError(f"the plan names a value {entry.value} that does not exist")
        uses = [(use.node, use.idx) for use in value.uses()]
        if entry.readers is not None:
            uses = [(self._node(edge.node), edge.input) for edge in entry.readers]
        scale, zero_point = self._numbers(value, entry.params)
        quantize = ir.Node("", "QuantizeLinear", [value, scale, zero_point])
        back = ir.Node("", "DequantizeLinear", [quantize.outputs[0], scale, zero_point])
        self._name(quantize, f"{name_of(value)}_quantized")
        self._name(back, f"{name_of(value)}_rounded")
        where = self._where(self._switch(entry.value), back.outputs[0], value)
        rewire.insert_after(value, [quantize, back, where], _home(value))
        rewire.redirect(uses, where.outputs[0])
        if entry.readers is None:
            self.behind[entry.value.name] = where.outputs[0]
            if value.is_graph_output():
                rewire.hand_over_output(value, where.outputs[0])

    def _bias(self, node: ir.Node, other: ir.Node, switch: ir.Value) -> None:
        """Let a bias that is another one in the adjusted model follow the switch."""
        new = other.inputs[_BIAS] if len(other.inputs) > _BIAS else None
        old = node.inputs[_BIAS] if len(node.inputs) > _BIAS else None
        data, before = constants.array(new), constants.array(old)
        if new is None or data is None or (before is not None and np.array_equal(data, before)):
            return
        if old is None:
            old = self._constant(f"{name_of(new)}_none", np.zeros_like(data))
            node.resize_inputs(_BIAS + 1)
        chosen = self._constant(f"{name_of(new)}_chosen", data)
        self._choose_before(node, _BIAS, switch, chosen, old)

    def _choose_before(
        self, node: ir.Node, index: int, switch: ir.Value, rounded: ir.Value, exact: ir.Value
    ) -> None:
        where = self._where(switch, rounded, exact)
        _graph(node).insert_before(node, [where])
        node.replace_input_with(index, where.outputs[0])

    def _where(self, switch: ir.Value, rounded: ir.Value, exact: ir.Value) -> ir.Node:
        node = ir.Node("", "Where", [switch, rounded, exact])
        self._name(node, f"{name_of(exact)}_switched")
        node.outputs[0].shape, node.outputs[0].type = exact.shape, exact.type
        return node

    def _switch(self, ref: Ref) -> ir.Value:
        switch = ir.Value(
            name=self._names.value(f"{ref}__on"),
            type=ir.TensorType(ir.DataType.BOOL),
            shape=ir.Shape([]),
        )
        self.model.graph.inputs.append(switch)
        self.switches[ref] = name_of(switch)
        return switch

    def _numbers(self, value: ir.Value, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        name = name_of(value)
        zero_point = params.zero_point.astype(params.dtype.numpy)
        return (
            self._constant(f"{name}_scale", np.asarray(params.scale)),
            self._constant(f"{name}_zero_point", np.asarray(zero_point)),
        )

    def _constant(self, name: str, data: Array) -> ir.Value:
        return rewire.add_initializer(self.model.graph, self._names.value(name), data)

    def _name(self, node: ir.Node, wanted: str) -> None:
        node.name = self._names.node(wanted)
        for value in node.outputs:
            value.name = self._names.value(wanted)

    def _node(self, name: str) -> ir.Node:
        if name not in self._nodes:
            raise ModelError(f"the plan names a node {name!r} that does not exist")
        return self._nodes[name]


def _graph(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise ModelError("it belongs to no graph", where=f"node {node.name!r}")
    return node.graph


def _home(value: ir.Value) -> ir.Graph:
    producer = value.producer()
    graph = value.graph if producer is None else producer.graph
    if not isinstance(graph, ir.Graph):
        raise ModelError(f"value {value.name!r} belongs to no graph")
    return graph
