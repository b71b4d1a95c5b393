"""Turns HardSigmoid and Mul into HardSwish.

For models that stay float: the operator takes the time of the pair (figures in
``recognize_activations.py``), is one node less, and compilers for NPUs look for it. A model that is
going to be quantized keeps the pair, unless the target has HardSwish in integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, sole_reader, where

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer

_SINCE: Final = 14
_ALPHA: Final = 1 / 6
_BETA: Final = 0.5
_DEFAULT_ALPHA: Final = 0.2
_CLOSE: Final = 1e-6


def recognize_hard_swish(model: ir.Model) -> Outcome:
    """Replace ``x * HardSigmoid(x)`` with slope 1/6 by the operator, from opset 14 on."""
    names, older = rewire.Names(model), opset(model) < _SINCE
    gates = [node for node in walk.nodes(model) if is_op(node, "HardSigmoid")]
    return Outcome.of(_fuse(node, older, names) for node in gates)


def _fuse(node: ir.Node, older: bool, names: Names) -> Answer:
    source, use = node.inputs[0], sole_reader(node.outputs[0])
    if source is None or use is None or not is_op(use.node, "Mul") or not _is_sixth(node):
        return False
    product = use.node
    if product.inputs[1 - use.index] is not source:
        return False
    if older:
        return f"{where(node)}: HardSwish needs opset {_SINCE}"
    base = f"{product.name}__hard_swish"
    output = product.outputs[0]
    new = edits.add_node(product, "HardSwish", [source], names, base, like=output)
    rewire.take_place(output, new)
    edits.drop([product, node])
    return True


def _is_sixth(node: ir.Node) -> bool:
    """Whether the slope and offset are those of HardSwish (ONNX operator HardSwish, opset 14)."""
    alpha = node.attributes.get_float("alpha", _DEFAULT_ALPHA)
    beta = node.attributes.get_float("beta", _BETA)
    return abs(alpha - _ALPHA) < _CLOSE and abs(beta - _BETA) < _CLOSE
