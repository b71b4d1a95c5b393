"""Orders of axes: axis ``i`` of the result is axis ``order[i]`` of the source, as in Transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import onnx_ir as ir

from edgeq.graph.walk import is_op

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Order: TypeAlias = "tuple[int, ...]"

_T = TypeVar("_T")


def of(node: ir.Node) -> Order | None:
    """The order of a Transpose, where its rank is known; None for any other node."""
    if not is_op(node, "Transpose") or len(node.inputs) != 1 or node.inputs[0] is None:
        return None
    given = tuple(node.attributes.get_ints("perm", ()))
    shape = node.inputs[0].shape
    if not given and shape is not None:
        return tuple(reversed(range(len(shape))))
    if sorted(given) != list(range(len(given))) or not given:
        return None
    return given if shape is None or len(shape) == len(given) else None


def inverse(order: Order) -> Order:
    """The order that undoes ``order``."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def permuted(items: Sequence[_T], order: Order) -> tuple[_T, ...]:
    """The items of a source, one an axis, as those of the result."""
    return tuple(items[axis] for axis in order)


def reordered(shape: ir.Shape, order: Order) -> ir.Shape:
    """The shape of what a Transpose makes of ``shape``."""
    return ir.Shape(permuted(list(shape), order))


def keeps(order: Order, axes: Collection[int]) -> bool:
    """Whether some axes of the source follow one another in the result as they did before."""
    kept = [axis for axis in order if axis in axes]
    return kept == sorted(kept)


def is_free(order: Order, shape: ir.Shape | None) -> bool:
    """Whether only axes of size 1 change places, so that the elements stay where they are."""
    return shape is not None and keeps(order, [a for a, size in enumerate(shape) if size != 1])
