"""Turns ``x * g + x`` into ``x * (g + 1)`` where g is smaller: a gate for each channel, say.

Residual squeeze-and-excitation comes so. One addition of everything and one more reading of x are
saved; between integers also one rounding and, as every reader converts for itself, a conversion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import constants, rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import FLOATS, sole_reader

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names


def factor_sums(model: ir.Model) -> Outcome:
    """Add 1 to a gate in place of adding what it gates."""
    names = rewire.Names(model)
    products = [node for node in walk.nodes(model) if is_op(node, "Mul")]
    return Outcome.of(_factor(node, names) for node in products)


def _factor(product: ir.Node, names: Names) -> bool:
    use = sole_reader(product.outputs[0])
    if use is None or not is_op(use.node, "Add") or "axis" in use.node.attributes:
        return False
    gated = use.node.inputs[1 - use.index]
    gates = [value for value in product.inputs if value is not gated]
    gate = gates[0] if len(gates) == 1 else None
    if gate is None or gated is None or gate.dtype not in FLOATS or not _is_smaller(gate, gated):
        return False
    base, total = f"{product.name}__gate", use.node.outputs[0]
    one = edits.constant(product, np.ones((), gate.dtype.numpy()), names, f"{base}_one")
    opened = edits.add_node(product, "Add", [gate, one], names, base, like=gate)
    product.replace_input_with(list(product.inputs).index(gate), opened)
    product.outputs[0].shape = total.shape
    rewire.take_place(total, product.outputs[0])
    edits.drop([use.node])
    return True


def _is_smaller(gate: ir.Value, gated: ir.Value) -> bool:
    """Whether a value is repeated along an axis to gate another one, and is no constant."""
    small, large = gate.shape, gated.shape
    if small is None or large is None or constants.is_constant(gate):
        return False
    given = [1] * (len(large) - len(small)) + list(small)
    return len(small) <= len(large) and any(
        one == 1 != many for one, many in zip(given, large, strict=True)
    )
