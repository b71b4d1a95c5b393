"""Ports of the operators that change how many axes there are, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph.shapes import rank, static
from edgeq.passes.layout import permutation
from edgeq.passes.layout.ports import READER, WRITER, Ports, varies
from edgeq.passes.pattern import given, ints

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.passes.layout.permutation import Order


def any_reader(node: ir.Node, order: Order) -> Ports | None:
    """Shape and Size."""
    return READER if varies(node.inputs[0], len(order)) else None


def transposing(node: ir.Node, order: Order) -> Ports | None:
    """A Transpose can write any order."""
    own = permutation.of(node)
    return WRITER if own is not None and len(own) == len(order) else None


def squeezing(node: ir.Node, order: Order) -> Ports | None:
    """Squeeze, where the axes that stay follow one another as before."""
    axes = squeezed(node)
    if axes is None or not varies(node.inputs[0], len(order)):
        return None
    return READER if permutation.keeps(order, set(order) - set(axes)) else None


def squeezed(node: ir.Node) -> tuple[int, ...] | None:
    """The axes that a Squeeze drops, from 0 on; None where unknown."""
    axes, known = ints(node, 1, "axes"), rank(node.inputs[0])
    if known is None:
        return None
    if axes is not None:
        return tuple(axis % known for axis in axes)
    shape = static(node.inputs[0])
    if given(node, 1) or shape is None:
        return None
    return tuple(axis for axis, size in enumerate(shape) if size == 1)


def unsqueezing(node: ir.Node, order: Order) -> Ports | None:
    """Unsqueeze, where the axes that were there follow one another as before."""
    axes = ints(node, 1, "axes")
    if axes is None or not varies(node.outputs[0], len(order)) or given_constant(node):
        return None
    new = {axis % len(order) for axis in axes}
    return WRITER if permutation.keeps(order, set(order) - new) else None


def given_constant(node: ir.Node) -> bool:
    """Whether the node's data is known, so that it will be computed once."""
    known = rank(node.inputs[0])
    return known is None or not varies(node.inputs[0], known)


def reshaping(node: ir.Node, order: Order) -> Ports | None:
    """Reshape, where the order of axes does not move elements."""
    data, output = node.inputs[0], node.outputs[0]
    if given_constant(node) or data is None or output.shape is None:
        return None
    if len(output.shape) == len(order):
        free = permutation.is_free(order, output.shape)
        return WRITER if free and target(permutation.reordered(output.shape, order)) else None
    if not varies(data, len(order)) or not permutation.is_free(order, data.shape):
        return None
    return READER if target(output.shape) is not None else None


def target(shape: ir.Shape) -> list[int] | None:
    """What to tell a Reshape for a shape; None where too much of it is unknown."""
    sizes = [size if isinstance(size, int) and size >= 0 else -1 for size in shape]
    return sizes if sizes.count(-1) <= 1 and (0 not in sizes) else None


def flattening(node: ir.Node, order: Order) -> Ports | None:
    """Flatten behind its first axis, where the order of axes does not move elements."""
    data = node.inputs[0]
    if data is None or not varies(data, len(order)) or order[0] != 0:
        return None
    first = node.attributes.get_int("axis", 1) == 1
    return READER if first and permutation.is_free(order, data.shape) else None
