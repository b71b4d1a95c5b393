"""Reads sizes that exporters write as sums: ``past_sequence_length + sequence_length``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from edgeq.passes import dims

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from edgeq.passes.dims import Size

_OPERATORS: Final[dict[type[ast.operator], Callable[[Size, Size], Size | None]]] = {
    ast.Add: dims.add,
    ast.Sub: dims.subtract,
    ast.Mult: dims.multiply,
}
_LONGEST: Final = 200
"""Characters; a longer text is a name."""


def parse(text: str, known: Collection[str]) -> Size:
    """What a declared size says.

    Args:
        text: A name, or sums, differences and products of names and whole numbers.
        known: Names of sizes. In ``seq-len`` nothing is subtracted unless there are both.

    Returns:
        A polynomial in known names; a symbol of that name for any other text.
    """
    try:
        tree = ast.parse(text, mode="eval").body if len(text) <= _LONGEST else None
    except (SyntaxError, ValueError):
        tree = None
    found = _size(tree)
    if found is None or not all(name in known for name in dims.names(found)):
        return dims.symbol(text)
    return found


def _size(tree: ast.expr | None) -> Size | None:
    match tree:
        case ast.Name(id=name):
            return dims.symbol(name)
        case ast.Constant(value=int(value)) if type(value) is int:
            return value
        case ast.BinOp(left=left, op=op, right=right):
            compute, a, b = _OPERATORS.get(type(op)), _size(left), _size(right)
            return None if compute is None or a is None or b is None else compute(a, b)
        case _:
            return None
