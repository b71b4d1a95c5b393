"""How the elements of shape vectors follow from each other, with symbols in them.

A rule gives the elements of each output; None stands for one that is not told. What depends on
numbers only is exact here as well, with one exception: floats that are no short binary fractions
are left to the runtime, which folds them as constants.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from edgeq.passes import dims
from edgeq.passes.pattern import given, ints
from edgeq.passes.symbolic_shapes import axes_of, input_at, slice_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.passes.dims import Size
    from edgeq.passes.symbolic_shapes import Look, Told

Rule: TypeAlias = "Callable[[ir.Node, Look], Sequence[Told | None]]"

LONGEST = 64
"""Vectors longer than that are no shapes."""

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32)
_REAL = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_NOTHING: tuple[None] = (None,)


def _shape(node: ir.Node, look: Look) -> Sequence[Told | None]:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return _NOTHING
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    return (shape[slice(start, end)],)


def _size(node: ir.Node, look: Look) -> Sequence[Told | None]:
    shape = look.shape(node.inputs[0])
    return ((dims.product(shape),),) if shape is not None else _NOTHING


def _gather(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data, indices = look.elements(node.inputs[0]), look.elements(node.inputs[1])
    if data is None or indices is None or look.shape(node.inputs[0]) == ():
        return _NOTHING
    found = [i if isinstance(i, int) and -len(data) <= i < len(data) else None for i in indices]
    return (tuple(None if i is None else data[i] for i in found),)


def _slice(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data, parts = look.elements(node.inputs[0]), slice_parts(node, look)
    if data is None or parts is None or len(parts[0]) != 1:
        return _NOTHING
    start, end, step = parts[0][0], parts[1][0], parts[3][0]
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(step, int) and step):
        return _NOTHING
    return (tuple(data[i] for i in range(*slice(start, end, step).indices(len(data)))),)


def _concat(node: ir.Node, look: Look) -> Sequence[Told | None]:
    parts: list[Size | None] = []
    for value in node.inputs:
        shape, elements = look.shape(value), look.elements(value)
        if shape is None or len(shape) != 1:
            return _NOTHING
        if elements is None:
            # A part of known length leaves a gap; the others are told all the same.
            if not isinstance(shape[0], int) or shape[0] > LONGEST:
                return _NOTHING
            elements = (None,) * shape[0]
        parts += elements
    return (tuple(parts),)


def _split(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data = look.elements(node.inputs[0])
    shapes = [look.shape(v) for v in node.outputs]
    sizes = [s[0] if s is not None and len(s) == 1 else None for s in shapes]
    if data is None or not all(isinstance(s, int) for s in sizes):
        return _NOTHING
    found, start = [], 0
    for size in sizes:
        end = start + (size if isinstance(size, int) else 0)
        found.append(data[start:end])
        start = end
    return found if start == len(data) else _NOTHING


def _same(node: ir.Node, look: Look) -> Sequence[Told | None]:
    return (look.elements(node.inputs[0]),)


def _cast(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data, source = look.elements(node.inputs[0]), node.inputs[0]
    before, after = None if source is None else source.dtype, node.outputs[0].dtype
    if data is None:
        return _NOTHING
    if after == ir.DataType.BOOL:
        return (tuple(_truth(d) for d in data),)
    if before in _REAL and after in _INTEGERS:
        return (tuple(None if d is None else _towards_zero(d) for d in data),)
    return (data,)


def _truth(size: Size | None) -> Size | None:
    if size is None:
        return None
    return 1 if dims.above(size, 0) else 0 if size == 0 else None


def _towards_zero(size: Size) -> Size | None:
    return (
        dims.floor(size)
        if dims.at_least(size, 0)
        else dims.ceil(size)
        if dims.at_least(0, size)
        else None
    )


def _mapped(compute: Callable[[Size], Size | None]) -> Rule:
    def rule(node: ir.Node, look: Look) -> Sequence[Told | None]:
        data = look.elements(node.inputs[0])
        if data is None:
            return _NOTHING
        return (tuple(None if d is None else compute(d) for d in data),)

    return rule


def _zipped(compute: Callable[[Size, Size, bool], Size | None]) -> Rule:
    """A rule for two or more inputs; ``compute`` is told whether they are floats."""

    def rule(node: ir.Node, look: Look) -> Sequence[Told | None]:
        wide = _widened([look.elements(v) for v in node.inputs])
        real = any(v is not None and v.dtype in _REAL for v in node.inputs)
        if wide is None:
            return _NOTHING
        total = list(wide[0])
        for other in wide[1:]:
            total = [
                None if a is None or b is None else compute(a, b, real)
                for a, b in zip(total, other, strict=True)
            ]
        if real and node.outputs[0].dtype in _REAL:
            total = [size if size is not None and _is_exact(size) else None for size in total]
        return (tuple(total),)

    return rule


def _widened(sources: Sequence[Told | None]) -> list[Told] | None:
    known = [s for s in sources if s is not None]
    if len(known) != len(sources) or not known:
        return None
    length = max(map(len, known))
    if {len(s) for s in known} - {1, length}:
        return None
    return [s * length if len(s) == 1 else s for s in known]


def _is_exact(size: Size) -> bool:
    """Whether floats hold it: few binary digits behind the point."""
    found = (c for _, c in size.terms) if isinstance(size, dims.Dim) else (Fraction(size),)
    return all(256 % c.denominator == 0 for c in found)


def _divide(a: Size, b: Size, real: bool) -> Size | None:
    """Integers are divided towards zero."""
    if b == 0:
        return None
    exact = dims.quotient(a, b)
    if exact is None or real or dims.integral(exact):
        return exact
    return dims.floor(exact) if dims.at_least(a, 0) and dims.at_least(b, 0) else _truncated(a, b)


def _truncated(a: Size, b: Size) -> Size | None:
    if not (isinstance(a, int) and isinstance(b, int)):
        return None
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _mod(a: Size, b: Size, real: bool) -> Size | None:
    if real or b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    exact = dims.quotient(a, b)
    return 0 if exact is not None and dims.integral(exact) else None


def _equal(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return 1 if a == b else 0 if dims.above(a, b) or dims.above(b, a) else None


def _greater(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return 1 if dims.above(a, b) else 0 if dims.at_least(b, a) else None


def _greater_or_equal(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return 1 if dims.at_least(a, b) else 0 if dims.above(b, a) else None


def _larger(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return a if dims.at_least(a, b) else b if dims.at_least(b, a) else None


def _smaller(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return b if dims.at_least(a, b) else a if dims.at_least(b, a) else None


def _where(node: ir.Node, look: Look) -> Sequence[Told | None]:
    sources = [look.elements(v) for v in node.inputs]
    wide = _widened(sources)
    if wide is None:
        return _NOTHING
    return (tuple(_chosen(*row) for row in zip(*wide, strict=True)),)


def _chosen(condition: Size | None, yes: Size | None, no: Size | None) -> Size | None:
    if condition is None:
        return yes if yes == no else None
    return yes if condition else no


def _reduced(compute: Callable[[Size, Size], Size | None]) -> Rule:
    """Over all elements of a vector."""

    def rule(node: ir.Node, look: Look) -> Sequence[Told | None]:
        data = look.elements(node.inputs[0])
        shape = look.shape(node.inputs[0])
        if data is None or not data or shape is None or len(shape) != 1:
            return _NOTHING
        if (given(node, 1) or "axes" in node.attributes) and axes_of(node, 1) != (0,):
            return _NOTHING
        if node.attributes.get_int("noop_with_empty_axes", 0) and axes_of(node, 1) is None:
            return _NOTHING
        total: Size | None = data[0]
        for each in data[1:]:
            total = None if total is None or each is None else compute(total, each)
        return ((total,),)

    return rule


def _filled(node: ir.Node, look: Look) -> Sequence[Told | None]:
    shape, value = look.elements(node.inputs[0]), node.attributes.get("value")
    if shape is None or len(shape) > 1 or not all(isinstance(s, int) for s in shape):
        return _NOTHING
    count = shape[0] if shape else 1
    if not isinstance(count, int) or count > LONGEST:
        return _NOTHING
    number = 0.0 if value is None else float(value.as_tensor().numpy().reshape(-1)[0])
    return ((int(number),) * count,) if number == int(number) else _NOTHING


def _expand(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data, target = look.elements(node.inputs[0]), look.elements(node.inputs[1])
    if data is None or target is None or len(target) != 1 or len(data) != 1:
        return (data,) if target == (1,) or target == () else _NOTHING
    count = target[0]
    return (data * count,) if isinstance(count, int) and count <= LONGEST else _NOTHING


def _tile(node: ir.Node, look: Look) -> Sequence[Told | None]:
    data, times = look.elements(node.inputs[0]), ints(node, 1, "repeats")
    if data is None or times is None or len(times) != 1 or times[0] * len(data) > LONGEST:
        return _NOTHING
    return (data * times[0],)


def _range(node: ir.Node, look: Look) -> Sequence[Told | None]:
    parts = [look.elements(input_at(node, i)) for i in range(3)]
    numbers = [p[0] for p in parts if p is not None and isinstance(p[0], int)]
    if len(numbers) != 3 or not numbers[2]:
        return _NOTHING
    found = range(*(n for n in numbers if isinstance(n, int)))
    return (tuple(found),) if len(found) <= LONGEST else _NOTHING


def _sum(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return dims.add(a, b)


def _difference(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return dims.subtract(a, b)


def _product(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return dims.multiply(a, b)


def _absolute(size: Size) -> Size | None:
    return (
        size if dims.at_least(size, 0) else dims.negative(size) if dims.at_least(0, size) else None
    )


def _not(size: Size) -> Size | None:
    return None if isinstance(size, dims.Dim) else int(not size)


def _and(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return int(bool(a) and bool(b))


def _or(a: Size, b: Size, real: bool) -> Size | None:
    del real
    return int(bool(a) or bool(b))


ELEMENT_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Identity": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Reshape": _same,
    "Flatten": _same,
    "Cast": _cast,
    "Add": _zipped(_sum),
    "Sub": _zipped(_difference),
    "Mul": _zipped(_product),
    "Div": _zipped(_divide),
    "Mod": _zipped(_mod),
    "Max": _zipped(_larger),
    "Min": _zipped(_smaller),
    "Equal": _zipped(_equal),
    "Greater": _zipped(_greater),
    "GreaterOrEqual": _zipped(_greater_or_equal),
    "Less": _zipped(lambda a, b, real: _greater(b, a, real)),
    "LessOrEqual": _zipped(lambda a, b, real: _greater_or_equal(b, a, real)),
    "And": _zipped(_and),
    "Or": _zipped(_or),
    "Not": _mapped(_not),
    "Where": _where,
    "Neg": _mapped(dims.negative),
    "Abs": _mapped(_absolute),
    "Floor": _mapped(dims.floor),
    "Ceil": _mapped(dims.ceil),
    "ReduceProd": _reduced(dims.multiply),
    "ReduceSum": _reduced(dims.add),
    "ReduceMax": _reduced(lambda a, b: _larger(a, b, False)),
    "ReduceMin": _reduced(lambda a, b: _smaller(a, b, False)),
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
}
"""Operator -> rule."""
