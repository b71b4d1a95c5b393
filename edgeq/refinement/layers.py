"""Layers with constant weights, visited from the inputs to the outputs of a model.

Each visit gives the layer's inputs in the float model and in the quantized one, in which the layers
before it have their final weights already. Both models run once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration.stepwise import Stepwise
from edgeq.graph import constants, rewire
from edgeq.graph.piece import inputs_of
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization import affine
from edgeq.quantization.insert import insert
from edgeq.quantization.saturation import useful_bounds
from edgeq.refinement.layer_inputs import as_matrix, from_matrix, patches_of
from edgeq.runtime.session import SessionConfig
from edgeq.types import EdgeRef, QuantParams, QuantType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edgeq.quantization.plan import QuantPlan
    from edgeq.refinement.layer_inputs import Patches
    from edgeq.types import Array, FloatArray, IntArray, Sample


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A Conv, Gemm or MatMul whose weights are stored in integers.

    Attributes:
        node: The node in the model that is quantized.
        name: Its name.
        params: Numbers of its weight.
        weight: The weight that is quantized.
        matrix: The same, float32 [groups, outputs, n].
        wanted: The weight of the float model, float32 [groups, outputs, n].
        bias: The bias [groups x outputs]; None without one that integers take.
        wanted_bias: That of the float model.
        bias_params: Its numbers.
        patches: How the layer reads its input.
        source: What the node reads in the float model.
        depth: Layers on the longest way to it.
        bounds: Outside of these the readers of its output cannot tell numbers apart.
    """

    node: ir.Node
    name: str
    params: QuantParams
    weight: Array
    matrix: FloatArray
    wanted: FloatArray
    bias: Array | None
    wanted_bias: Array | None
    bias_params: QuantParams | None
    patches: Patches
    source: str
    depth: int
    bounds: tuple[float, float]

    def as_matrix(self, weight: Array) -> FloatArray:
        """An array of the weight's shape as float32 [groups, outputs, n]."""
        return np.ascontiguousarray(as_matrix(self.node, weight), np.float32)

    def grid_scale(self) -> FloatArray:
        """The scale of every weight, float32 [groups, outputs, n]."""
        scale, _ = affine.aligned(self.params, self.weight.ndim)
        return self.as_matrix(np.broadcast_to(scale, self.weight.shape))

    def quantized(self) -> FloatArray:
        """What plain rounding makes of the weight, in reals, float32 [groups, outputs, n]."""
        return self.as_matrix(
            affine.dequantize(affine.quantize(self.weight, self.params), self.params)
        )


@dataclass(frozen=True, eq=False, slots=True)
class Visit:
    """A layer and its inputs.

    Attributes:
        layer: The layer.
        pairs: Per sample, what it reads in the float model and in the quantized one, there as it is
            stored.
        reals: What the stored numbers stand for.
    """

    layer: Layer
    pairs: Sequence[tuple[Array, Array]]
    reals: Callable[[Array], FloatArray]

    def columns(self, most: int) -> list[tuple[FloatArray, FloatArray]]:
        """Per sample, columns of both inputs at the same positions, ``most`` over all samples."""
        each = max(most // max(len(self.pairs), 1), 1)
        patches = self.layer.patches
        return [
            (patches.columns(wanted, each, seed), patches.columns(found, each, seed, self.reals))
            for seed, (wanted, found) in enumerate(self.pairs)
        ]


class Walk:
    """Both models on their way through the layers.

    Args:
        base: The float model that is quantized; weights and biases may differ from ``prepared``.
        plan: The numbers.
        samples: What both models run on; what layers read is in memory for all of them.
        prepared: The float model that outputs are compared with; ``base`` unless told.
        threads: Threads of onnxruntime.

    Attributes:
        model: A copy of ``base`` with the weights and biases given to :meth:`put`.
    """

    def __init__(
        self,
        base: ir.Model,
        plan: QuantPlan,
        samples: Sequence[Sample],
        *,
        prepared: ir.Model | None = None,
        threads: int = 0,
    ) -> None:
        self.model = base.clone()
        self._quantized = insert(base, plan.unpadded())
        self._layers = layers_of(base, plan, prepared or base)
        self._by_name = {node_name(node): node for node in nodes(self.model)}
        self._integer = {node_name(node): node for node in nodes(self._quantized)}
        self._names = rewire.Names(self.model)
        self._quantized_names = rewire.Names(self._quantized)
        config = SessionConfig(threads)
        there = {layer.name: self._read(layer) for layer in self._layers}
        self._there = {name: name_of(value) for name, value in there.items()}
        float_values = dict.fromkeys(layer.source for layer in self._layers)
        self._floats = Stepwise(prepared or base, samples, float_values, config)
        self._found = Stepwise(
            self._quantized, samples, dict.fromkeys(self._there.values()), config
        )

    def visits(self) -> Iterator[Visit]:
        """The layers, each when those before it have been visited."""
        for depth in sorted({layer.depth for layer in self._layers}):
            layers = [layer for layer in self._layers if layer.depth == depth]
            wanted = self._floats.advance(list(dict.fromkeys(one.source for one in layers)))
            found = self._found.advance(list(dict.fromkeys(self._there[o.name] for o in layers)))
            for layer in layers:
                there = self._there[layer.name]
                pairs = [
                    (left[layer.source], right[there])
                    for left, right in zip(wanted, found, strict=True)
                    if layer.source in left and there in right and left[layer.source].size
                ]
                if pairs:
                    yield self._visit(layer, pairs)

    def put(self, layer: Layer, integers: FloatArray | None, bias: FloatArray | None) -> None:
        """Give a layer that has just been visited new weights or a new bias.

        Args:
            layer: The layer.
            integers: Of its weights [groups, outputs, n], zero point subtracted.
            bias: In reals, [groups x outputs].
        """
        node, integer = self._by_name[layer.name], self._integer[layer.name]
        if integers is not None:
            _, zero_point = affine.aligned(layer.params, layer.weight.ndim)
            shape = layer.weight.shape
            made = from_matrix(node, integers, shape).astype(np.int64) + zero_point
            stored = made.astype(layer.params.dtype.numpy)
            self._replace(node, 1, affine.dequantize(stored, layer.params))
            self._store(integer, 1, stored)
        if bias is not None and layer.bias_params is not None:
            self._replace(node, 2, bias.astype(np.float32))
            self._store(integer, 2, affine.quantize(bias.astype(np.float32), layer.bias_params))

    def _replace(self, node: ir.Node, index: int, data: FloatArray) -> None:
        old, graph = node.inputs[index], node.graph
        if old is None or not isinstance(graph, ir.Graph):
            raise ValueError(f"{node.name} has no input {index}")
        name = self._names.value(f"{name_of(old)}_refined")
        node.replace_input_with(index, rewire.add_initializer(graph, name, data))

    def _store(self, node: ir.Node, index: int, integers: IntArray) -> None:
        """Change what a node of the quantized model reads, behind a DequantizeLinear or as is."""
        value, graph = node.inputs[index], node.graph
        if value is None or not isinstance(graph, ir.Graph):
            raise ValueError(f"{node.name} has no input {index}")
        name = self._quantized_names.value(f"{name_of(value)}_refined")
        fresh = rewire.add_initializer(graph, name, integers)
        old = value.producer()
        if old is None:
            turned = node.op_type == "MatMulInteger" and fresh.shape != value.shape
            fresh = rewire.add_initializer(graph, f"{name}_turned", integers.T) if turned else fresh
            node.replace_input_with(index, fresh)
            return
        new = ir.node("DequantizeLinear", [fresh, *old.inputs[1:]], dict(old.attributes))
        new.name = self._quantized_names.node(f"{name}_DequantizeLinear")
        new.outputs[0].name = self._quantized_names.value(f"{name}_dequantized")
        graph.insert_before(node, [new])
        node.replace_input_with(index, new.outputs[0])

    def _read(self, layer: Layer) -> ir.Value:
        """What the layer's node reads in the quantized model, before it is dequantized."""
        value = self._integer[layer.name].inputs[0]
        producer = None if value is None else value.producer()
        if producer is None or producer.inputs[0] is None:
            raise ValueError(f"the input of {layer.name} is not quantized")
        return producer.inputs[0]

    def _visit(self, layer: Layer, pairs: Sequence[tuple[Array, Array]]) -> Visit:
        """What :meth:`_read` names are integers, or reals that are rounded on the way."""
        node = self._integer[layer.name]
        producer = None if node.inputs[0] is None else node.inputs[0].producer()
        if producer is None or not is_op(producer, "DequantizeLinear"):
            rounded = [(left, rounded_dynamically(right)) for left, right in pairs]
            return Visit(layer, rounded, lambda real: np.asarray(real, np.float32))
        scale, zero_point = (constants.array(value) for value in producer.inputs[1:3])
        if scale is None or zero_point is None:
            raise ValueError(f"the input of {layer.name} has no numbers")
        step, zero = scale.astype(np.float32), zero_point.astype(np.float32)
        return Visit(layer, pairs, lambda stored: (stored.astype(np.float32) - zero) * step)


def rounded_dynamically(real: Array) -> FloatArray:
    """What DynamicQuantizeLinear makes of a value (ONNX operator), in reals."""
    low, high = min(float(real.min(initial=0.0)), 0.0), max(float(real.max(initial=0.0)), 0.0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    zero = np.clip(np.rint(-low / scale), 0, QuantType.UINT8.qmax)
    params = QuantParams(np.asarray(scale), np.asarray(zero, np.int64), QuantType.UINT8)
    return affine.dequantize(affine.quantize(real, params), params)


def layers_of(base: ir.Model, plan: QuantPlan, prepared: ir.Model) -> list[Layer]:
    """The layers that can be visited: of the main graph, with weights that no other node reads."""
    dynamic = [entry for entries in plan.dynamic.values() for entry in entries]
    params = {entry.edge: entry.params for entry in (*plan.weights, *dynamic)}
    originals = {node.name: node for node in prepared.graph}
    depths: dict[ir.Value, int] = {}
    found = []
    for node in base.graph:
        depth = max((depths.get(value, 0) for value in inputs_of(node)), default=0)
        layer = _layer(node, originals.get(node.name), params, depth)
        found += [] if layer is None else [layer]
        depths |= dict.fromkeys(node.outputs, depth if layer is None else depth + 1)
    return found


def _layer(
    node: ir.Node, original: ir.Node | None, entries: Mapping[EdgeRef, QuantParams], depth: int
) -> Layer | None:
    name = node_name(node)
    params = entries.get(EdgeRef(name, 1))
    if params is None or original is None or constants.is_constant(node.inputs[0]):
        return None
    (weight, wanted), (bias, wanted_bias) = (
        (_constant(node, index), _constant(original, index)) for index in (1, 2)
    )
    value, data = node.inputs[1], original.inputs[0]
    if weight is None or wanted is None or value is None or data is None or len(value.uses()) > 1:
        return None
    patches, bias_params = patches_of(node, weight), entries.get(EdgeRef(name, 2))
    if patches is None:
        return None
    matrix, right = (
        np.ascontiguousarray(as_matrix(node, array), np.float32) for array in (weight, wanted)
    )
    return Layer(
        node, name, params, weight, matrix, right, None if bias_params is None else bias,
        wanted_bias, bias_params, patches, name_of(data), depth, useful_bounds(node.outputs[0]),
    )  # fmt: skip


def _constant(node: ir.Node, index: int) -> Array | None:
    return constants.array(node.inputs[index]) if index < len(node.inputs) else None
