"""Takes out an Expand in front of an operator that broadcasts by itself.

What the Expand repeats, the operator repeats while it reads. Another input must have every
dimension that the Expand would have made, so that the result keeps its shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op
from edgeq.passes.outcome import Outcome
from edgeq.passes.symbolic import Symbols
from edgeq.passes.symbolic_shapes import broadcast

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.passes.outcome import Answer

_BROADCASTING = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min",
    "Mod", "Mul", "Or", "Pow", "Sub", "Where", "Xor",
)  # fmt: skip


def remove_expands(model: ir.Model) -> Outcome:
    """Let operators read what is expanded for them as it was before."""
    nodes = [n for n in walk.nodes(model) if is_op(n, "Expand") and _readers(n)]
    if not nodes:
        return Outcome()
    symbols = Symbols(model)
    return Outcome.of(_bypass(node, symbols) for node in nodes)


def _readers(node: ir.Node) -> list[tuple[ir.Node, int]]:
    uses = ((u.node, u.idx) for u in node.outputs[0].uses())
    return [(n, i) for n, i in uses if is_op(n, *_BROADCASTING) and n.graph is node.graph]


def _bypass(node: ir.Node, symbols: Symbols) -> Answer:
    source, output = node.inputs[0], node.outputs[0]
    if source is None or node.graph is None:
        return False
    done = False
    for reader, index in _readers(node):
        wanted = symbols.shape(reader.outputs[0])
        inputs = list(reader.inputs)
        inputs[index] = source
        shapes = [symbols.shape(v) for v in inputs]
        if wanted is not None and None not in shapes and broadcast(shapes) == wanted:
            reader.replace_input_with(index, source)
            done = True
    if done and not output.uses() and not output.is_graph_output():
        rewire.remove(node)
    return done
