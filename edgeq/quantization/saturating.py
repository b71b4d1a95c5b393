"""HardSigmoid in integers: an addition whose rounded result saturates at both ends.

max(0, min(1, alpha x + beta)) is alpha times x + beta / alpha, cut to [0, 1 / alpha] (ONNX operator
HardSigmoid). Stored in 8 bits from 0 on in steps of 1 / (255 alpha), the sum is cut there of
itself, and read in steps of 1 / 255 it is the result. onnxruntime runs that as QLinearAdd
(onnxruntime/core/mlas/lib/qladd.cpp), in place of two conversions and a float operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name
from edgeq.quantization import affine
from edgeq.types import QuantSpec, QuantType, TensorRange

if TYPE_CHECKING:
    from edgeq.quantization.stored import IntegerConstants

RESPELLED = frozenset({"HardSigmoid"})
"""Operators that this can be done for: those that a target may call respelled."""

_ALPHA, _BETA = 0.2, 0.5
"""What the ONNX operator takes where a node leaves them out."""


def spell_as_addition(node: ir.Node, stored: IntegerConstants) -> None:
    """Replace a HardSigmoid between Q/DQ pairs by an addition between them.

    Args:
        node: Reads what is dequantized; only a QuantizeLinear, for [0, 1], reads what it writes.
        stored: Where integer constants go.

    Raises:
        ModelError: It does not stand so.
    """
    graph, output = node.graph, node.outputs[0]
    quantize = next((use.node for use in output.uses()), None)
    alone = len(output.uses()) == 1 and not output.is_graph_output()
    scale = None if quantize is None else constants.array(quantize.inputs[1])
    if quantize is None or scale is None or not alone or not isinstance(graph, ir.Graph):
        raise ModelError("a HardSigmoid in integers has no reader but one", where=node_name(node))
    alpha = node.attributes.get_float("alpha", _ALPHA)
    shift = np.asarray(node.attributes.get_float("beta", _BETA) / alpha, np.float32)
    reach = TensorRange(min(0.0, float(shift)), max(0.0, float(shift)))
    params = affine.params_for_range(reach, QuantSpec(QuantType.UINT8))
    name = name_of(output)
    source = stored.constant(graph, f"{name}_shift", shift)
    shifted = stored.dequantized(graph, source, shift, params)
    addition = ir.node("Add", [node.inputs[0], shifted])
    stored.name(addition, f"{name}_shifted", ir.DataType.FLOAT)
    addition.outputs[0].shape = output.shape
    wider = stored.constant(
        graph, f"{name}_wide_scale", np.asarray(scale.astype(np.float64) / alpha, np.float32)
    )
    rewire.insert_after(output, [addition], graph)
    quantize.replace_input_with(0, addition.outputs[0])
    quantize.replace_input_with(1, wider)
    rewire.remove(node)
    addition.name = node_name(node)
