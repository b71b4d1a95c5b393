"""Bias correction: rounding weights shifts the mean of a layer's output; its bias shifts it back.

With rounded weights W' the output's mean is off by (W' - W) E[x]. Subtracting that from the bias
costs nothing at run time (Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019, section 4.2; here E[x] is measured, as in their appendix D).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization import affine
from edgeq.quantization.plan import NodeForm
from edgeq.types import EdgeRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.quantization.plan import QuantPlan
    from edgeq.refinement.channels import Channels
    from edgeq.types import FloatArray, QuantParams

_CORRECTED_OPS = ("Conv", "Gemm")


def correct_biases(
    prepared: ir.Model, plan: QuantPlan, channels: Mapping[str, Channels]
) -> ir.Model:
    """Shift the biases of all layers with quantized weights.

    Layers without a bias are left alone, as are those whose input mean is not known.

    Args:
        prepared: The float model the plan was made for; not changed.
        plan: The numbers; weights and their scales stay as they are.
        channels: What was observed of the values that :func:`input_axes` lists.

    Returns:
        A copy of the model with new biases. The plan holds for it, too: the scale of a bias
        depends on input and weight only.
    """
    copy = prepared.clone()
    params = {entry.edge: entry.params for entry in plan.weights}
    names = rewire.Names(copy)
    for node in _layers(copy, plan):
        data, bias = node.inputs[0], _bias(node)
        seen = channels.get(name_of(data)) if data is not None else None
        old, edge = constants.array(bias), EdgeRef(node_name(node), 1)
        if old is None or bias is None or edge not in params:
            continue
        if seen is None or seen.axis != _axis(node):
            continue
        new = (old.astype(np.float64) + _shift(node, params[edge], seen.mean)).astype(np.float32)
        name = names.value(f"{name_of(bias)}_corrected")
        node.replace_input_with(2, rewire.add_initializer(_graph(node), name, new))
    return copy


def is_correctable(prepared: ir.Model, plan: QuantPlan) -> bool:
    """Whether any layer has quantized weights and a bias that could make up for them."""
    weights = {entry.edge for entry in plan.weights}
    return any(
        EdgeRef(node_name(node), 1) in weights and _bias(node) is not None
        for node in _layers(prepared, plan)
    )


def input_axes(prepared: ir.Model) -> dict[str, int]:
    """What layers with a bias read, each with its channel axis, counted from the last: to observe.

    Args:
        prepared: The float model; not changed.
    """
    found = {}
    for node in nodes(prepared):
        data, axis = node.inputs[0] if node.inputs else None, _axis(node)
        if data is not None and axis is not None and _bias(node) is not None:
            found[name_of(data)] = axis
    return found


def _axis(node: ir.Node) -> int | None:
    """Where the channels lie in what a layer reads, negative; None for other nodes.

    Those of a Gemm that turns its input lie on axis 0, where other layers have rows.
    """
    weight = constants.tensor(node.inputs[1]) if is_op(node, *_CORRECTED_OPS) else None
    if weight is None or node.attributes.get_int("transA", 0) != 0:
        return None
    return 1 - len(weight.shape)


def _graph(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"{node.name} belongs to no graph")  # noqa: TRY004 - a defect, not a type
    return node.graph


def _bias(node: ir.Node) -> ir.Value | None:
    """The constant that a layer adds."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias if constants.is_constant(bias) else None


def _layers(model: ir.Model, plan: QuantPlan) -> list[ir.Node]:
    static = {d.node for d in plan.decisions if d.form is NodeForm.STATIC}
    return [n for n in nodes(model) if n.name in static and _axis(n) is not None]


def _shift(node: ir.Node, params: QuantParams, mean: FloatArray) -> FloatArray:
    """(W - W') E[x], float64 [output channels]; padding is taken for the mean."""
    weight = constants.array(node.inputs[1])
    if weight is None:
        raise ValueError(f"the weight of {node.name} is not constant")
    rounded = affine.dequantize(affine.quantize(weight, params), params)
    error = weight.astype(np.float64) - rounded
    if node.op_type == "Gemm":
        error = error if node.attributes.get_int("transB", 0) else error.T
        return np.asarray(error @ mean)
    groups = node.attributes.get_int("group", 1)
    per_group = weight.shape[0] // groups
    error = error.reshape(groups, per_group, weight.shape[1], -1).sum(axis=-1)
    shift = np.einsum("goi,gi->go", error, mean.reshape(groups, weight.shape[1]))
    return np.asarray(shift.reshape(-1))
