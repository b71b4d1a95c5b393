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

SINCE: Final = 14
"""Opset from which there is the operator."""

_ALPHA: Final = 1 / 6
_BETA: Final = 0.5
_DEFAULT_ALPHA: Final = 0.2
_CLOSE: Final = 1e-6


def recognize_hard_swish(model: ir.Model) -> Outcome:
    """Replace ``x * HardSigmoid(x)`` with slope 1/6 by the operator, from opset 14 on."""
    names, older = rewire.Names(model), opset(model) < SINCE
    return Outcome.of([fuse(node, names, older=older) for node in walk.nodes(model)])


def product(node: ir.Node) -> ir.Node | None:
    """The Mul that makes ``x * HardSigmoid(x)`` of a gate with slope 1/6; None for other nodes."""
    if not is_op(node, "HardSigmoid") or not _is_sixth(node):
        return None
    use = sole_reader(node.outputs[0])
    if use is None or not is_op(use.node, "Mul"):
        return None
    return use.node if use.node.inputs[1 - use.index] is node.inputs[0] else None


def fuse(node: ir.Node, names: Names, *, older: bool) -> Answer:
    """Replace a gate and its product by HardSwish.

    Args:
        node: Any node.
        names: Where new names come from.
        older: Whether the model's opset does not have the operator.
    """
    found, source = product(node), node.inputs[0] if node.inputs else None
    if found is None or source is None:
        return False
    if older:
        return f"{where(node)}: HardSwish needs opset {SINCE}"
    base = f"{found.name}__hard_swish"
    output = found.outputs[0]
    new = edits.add_node(found, "HardSwish", [source], names, base, like=output)
    rewire.take_place(output, new)
    edits.drop([found, node])
    return True


def _is_sixth(node: ir.Node) -> bool:
    """Whether the slope and offset are those of HardSwish (ONNX operator HardSwish, opset 14)."""
    alpha = node.attributes.get_float("alpha", _DEFAULT_ALPHA)
    beta = node.attributes.get_float("beta", _BETA)
    return abs(alpha - _ALPHA) < _CLOSE and abs(beta - _BETA) < _CLOSE
