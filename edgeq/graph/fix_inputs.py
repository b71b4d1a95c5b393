"""Gives inputs fixed sizes: mobile runtimes and NPU compilers want every dimension known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import RecipeError, nearest
from edgeq.graph import shapes, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REMEDY = "Give NAME=DIMS for an input, as in x=1,3,224,224, or SYMBOL=SIZE for a dimension's name"


def fix_inputs(model: ir.Model, wanted: Mapping[str, Sequence[int]]) -> ir.Model:
    """Fix the sizes of inputs, and of everything that shares a dimension's name with them.

    Args:
        model: Left as it is.
        wanted: Name of an input -> its sizes, or name of a symbolic dimension -> its one size.

    Returns:
        A copy in which these inputs have these shapes; the shapes of outputs follow as far as they
        can be inferred.

    Raises:
        RecipeError: There is no such input or dimension, its rank is another, a size is not
            positive, contradicts another one, or differs from one that the model already fixes.
    """
    fixed = model.clone()
    symbols: dict[str, int] = {}
    for name, sizes in wanted.items():
        _collect(fixed, name, tuple(sizes), symbols)
    for value in walk.values(fixed).values():
        _substitute(value, symbols)
    settle_outputs(fixed)
    return fixed


def settle_outputs(model: ir.Model) -> None:
    """Let the model declare the sizes of its outputs that inference finds, in place."""
    shapes.infer(model)


def _collect(model: ir.Model, name: str, sizes: tuple[int, ...], symbols: dict[str, int]) -> None:
    """Note what one wish means for symbolic dimensions; sizes without a name are set at once."""
    where = f"shape of {name}"
    if not sizes or any(size < 1 for size in sizes):
        raise RecipeError("sizes are positive numbers", where=where, remedy=_REMEDY)
    inputs = {v.name: v for v in model.graph.inputs if v.name and not v.is_initializer()}
    value = inputs.get(name)
    if value is None:
        known = [*inputs, *_symbols(model)]
        if name not in known:
            what = f"there is no input or symbolic dimension {name!r}"
            raise RecipeError(what, where=where, remedy=nearest(name, known))
        if len(sizes) != 1:
            raise RecipeError("a dimension has one size", where=where, remedy=_REMEDY)
        _note(symbols, name, sizes[0], where)
        return
    dims = [None] * len(sizes) if value.shape is None else list(value.shape)
    if len(dims) != len(sizes):
        what = f"the input has {len(dims)} dimensions, {len(sizes)} sizes were given"
        raise RecipeError(what, where=where, remedy=_REMEDY)
    for axis, (dim, size) in enumerate(zip(dims, sizes, strict=True)):
        if isinstance(dim, int) and dim > 0 and dim != size:
            what = f"dimension {axis} is fixed to {dim} in the model, {size} was asked for"
            raise RecipeError(what, where=where, remedy="Export the model with that size")
        symbol = None if dim is None or isinstance(dim, int) else dim.value
        if symbol is not None and not shapes.is_vague(symbol):
            _note(symbols, symbol, size, where)
    value.shape = ir.Shape(sizes)


def _symbols(model: ir.Model) -> list[str]:
    """Names of the symbolic dimensions of the inputs."""
    dims = [d for v in model.graph.inputs for d in (v.shape or ())]
    names = [d.value for d in dims if not isinstance(d, int) and d.value is not None]
    return list(dict.fromkeys(name for name in names if not shapes.is_vague(name)))


def _note(symbols: dict[str, int], symbol: str, size: int, where: str) -> None:
    if symbols.setdefault(symbol, size) != size:
        what = f"dimension {symbol!r} cannot be both {symbols[symbol]} and {size}"
        raise RecipeError(what, where=where, remedy="Inputs that share its name share its size")


def _substitute(value: ir.Value, symbols: Mapping[str, int]) -> None:
    if value.shape is None or value.const_value is not None:
        return
    dims = [
        d if isinstance(d, int) or d.value is None else symbols.get(d.value, d) for d in value.shape
    ]
    value.shape = ir.Shape(dims)
