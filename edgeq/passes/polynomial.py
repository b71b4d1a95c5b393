"""What arithmetic makes of a few values, written as a polynomial: one form for all spellings.

``x * 0.5 * (1 + t)``, ``x * (0.5 + t / 2)`` and ``0.5 * x + 0.5 * x * t`` are the same polynomial
in x and t. Passes that recognise an operator say which polynomial it is; in which order its
operands stand, and whether it divides by 2 or multiplies by 0.5, is no concern of theirs.
Coefficients are arrays in float64 that broadcast as the constants in the graph do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.shapes import rank
from edgeq.graph.walk import is_op
from edgeq.passes import edits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from edgeq.passes.affine import Float64

Monomial: TypeAlias = "frozenset[tuple[ir.Value, float]]"
"""Values and their exponents; empty for 1."""

Polynomial: TypeAlias = "dict[Monomial, Float64]"

ONE: Final[Monomial] = frozenset()

TOLERANCE: Final = 1e-3
"""By what constants may be off, relative: they were rounded to half precision once."""

_TERMS = 24
_EXPONENT = 4
_ELEMENTS = 65536
"""Larger constants are no coefficients of an operator."""

_DEPTH = 6


def monomial(*factors: ir.Value | tuple[ir.Value, float]) -> Monomial:
    """The product of values, or of values with exponents."""
    total: dict[ir.Value, float] = {}
    for factor in factors:
        value, exponent = factor if isinstance(factor, tuple) else (factor, 1.0)
        total[value] = total.get(value, 0.0) + exponent
    return frozenset((v, e) for v, e in total.items() if e)


class Expansion:
    """Every value of a graph that is a polynomial in given ones.

    Args:
        atoms: The values that polynomials are written in, all of one graph or outer ones.
        graph: The graph whose nodes are followed.
        positive: The atoms that are above 0: they alone may have roots taken and be divided by.
    """

    def __init__(
        self,
        atoms: Sequence[ir.Value],
        graph: ir.Graph,
        positive: Collection[ir.Value] = (),
    ) -> None:
        self._positive = frozenset(positive)
        self.found: dict[ir.Value, Polynomial] = {
            atom: {monomial(atom): np.ones(())} for atom in atoms
        }
        pending = list(atoms)
        while pending:
            for use in pending.pop(0).uses():
                output = use.node.outputs[0] if len(use.node.outputs) == 1 else None
                if output is None or output in self.found or use.node.graph is not graph:
                    continue
                read = self._read(use.node)
                if read is not None:
                    self.found[output] = read
                    pending.append(output)

    def of(self, value: ir.Value | None) -> Polynomial | None:
        """The polynomial that a value or a constant is; None when it is none."""
        if value is None:
            return None
        if value in self.found:
            return self.found[value]
        array = coefficient(value)
        return None if array is None else {ONE: array}

    def matches(
        self, wanted: Mapping[Monomial, float], tolerance: float = TOLERANCE
    ) -> Iterator[ir.Value]:
        """The values that are a polynomial with these numbers as coefficients."""
        for value, polynomial in self.found.items():
            if is_close(polynomial, wanted, tolerance):
                yield value

    def _read(self, node: ir.Node) -> Polynomial | None:
        rule = _RULES.get(node.op_type)
        if rule is None or not is_op(node, node.op_type):
            return None
        if "axis" in node.attributes or "broadcast" in node.attributes:
            return None
        if is_op(node, "Pow"):
            return self._power(self.of(node.inputs[0]), _exponent(node))
        if is_op(node, "Sqrt", "Reciprocal"):
            return self._power(self.of(node.inputs[0]), 0.5 if is_op(node, "Sqrt") else -1.0)
        terms = [self.of(value) for value in node.inputs]
        if any(term is None for term in terms):
            return None
        known = [term for term in terms if term is not None]
        if is_op(node, "Div"):
            inverse = self._power(known[1], -1.0)
            return None if inverse is None else _product(known[0], inverse)
        return rule(*known) if len(known) == (1 if is_op(node, "Neg") else 2) else None

    def _power(self, base: Polynomial | None, exponent: float | None) -> Polynomial | None:
        if base is None or exponent is None:
            return None
        if exponent in (1, 2, 3, 4):
            total: Polynomial | None = base
            for _ in range(int(exponent) - 1):
                total = None if total is None else _product(total, base)
            return total
        if len(base) != 1:
            return None
        ((factors, scale),) = base.items()
        if any(value not in self._positive for value, _ in factors):
            return None
        # A negative number has an inverse, and no root.
        if not np.all(scale > 0) and not (exponent == -1 and np.all(scale != 0)):
            return None
        return {frozenset((v, e * exponent) for v, e in factors): scale**exponent}


def coefficient(value: ir.Value) -> Float64 | None:
    """A float32 constant that may be a coefficient, in float64."""
    tensor = constants.tensor(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size > _ELEMENTS:
        return None
    return np.asarray(tensor.numpy(), np.float64)


def _exponent(node: ir.Node) -> float | None:
    """The constant exponent of Pow; it may be an integer."""
    tensor = constants.tensor(node.inputs[1])
    base = rank(node.inputs[0])
    if tensor is None or tensor.size != 1 or not tensor.dtype.is_signed():
        return None
    data = np.asarray(tensor.numpy(), np.float64)
    if data.ndim > (base or 0):
        return None
    return float(data.reshape(()))


def _add(left: Polynomial, right: Polynomial) -> Polynomial | None:
    total = dict(left)
    for factors, scale in right.items():
        total[factors] = total[factors] + scale if factors in total else scale
    return total if len(total) <= _TERMS else None


def _negated(terms: Polynomial) -> Polynomial:
    return {factors: -scale for factors, scale in terms.items()}


def _product(left: Polynomial, right: Polynomial) -> Polynomial | None:
    total: Polynomial | None = {}
    for a, x in left.items():
        for b, y in right.items():
            factors = monomial(*a, *b)
            if total is None or any(abs(e) > _EXPONENT for _, e in factors):
                return None
            total = _add(total, {factors: x * y})
    return total


def _checked(rule: Callable[..., Polynomial | None]) -> Callable[..., Polynomial | None]:
    """Constants that do not broadcast against each other make no polynomial."""

    def run(*terms: Polynomial) -> Polynomial | None:
        try:
            return rule(*terms)
        except ValueError:
            return None

    return run


_RULES: Final[dict[str, Callable[..., Polynomial | None]]] = {
    "Add": _checked(_add),
    "Sub": _checked(lambda left, right: _add(left, _negated(right))),
    "Mul": _checked(_product),
    "Div": _checked(_product),
    "Neg": _negated,
    "Pow": _product,
    "Sqrt": _product,
    "Reciprocal": _product,
}


def is_close(
    polynomial: Polynomial, wanted: Mapping[Monomial, float], tolerance: float = TOLERANCE
) -> bool:
    """Whether the polynomial has these numbers as coefficients, and no others."""
    for factors, scale in polynomial.items():
        number = wanted.get(factors, 0.0)
        if not np.all(np.abs(scale - number) <= tolerance * abs(number)):
            return False
    return all(factors in polynomial for factors in wanted)


def broadcasts_into(arrays: Collection[Float64], value: ir.Value) -> bool:
    """Whether arithmetic with the arrays leaves the shape of ``value`` as it is."""
    for array in arrays:
        if not array.ndim:
            continue
        dims = value.shape
        if dims is None or array.ndim > len(dims):
            return False
        behind = list(dims)[len(dims) - array.ndim :]
        if any(a not in (1, d) for a, d in zip(array.shape, behind, strict=True)):
            return False
    return True


def sources(value: ir.Value | None) -> list[ir.Value]:
    """What arithmetic makes ``value`` of, itself first, the nearest before the farther ones."""
    found: dict[ir.Value, None] = {}
    level = [value]
    for _ in range(_DEPTH):
        behind: list[ir.Value | None] = []
        for each in level:
            if each is None or each in found or constants.is_constant(each):
                continue
            found[each] = None
            node = each.producer()
            if node is not None and node.op_type in _RULES and is_op(node, node.op_type):
                behind += node.inputs
        level = behind
    return list(found)


def cone(root: ir.Value, leaves: Collection[ir.Value]) -> list[ir.Node] | None:
    """The nodes between ``leaves`` and ``root``, readers first, if ``root`` alone needs them.

    Returns:
        The nodes; None when others read an inner value, or when they read more than the leaves.
    """
    top = root.producer()
    order: list[ir.Node] = []
    pending = [root]
    while pending:
        value = pending.pop()
        if value in leaves or constants.is_constant(value):
            continue
        node = value.producer()
        if node is None or top is None or node.graph is not top.graph:
            return None
        if node in order:
            order.remove(node)
        order.append(node)
        pending += [v for v in node.inputs if v is not None]
    inner = [output for node in order for output in node.outputs if output is not root]
    if any(v.is_graph_output() or any(u.node not in order for u in v.uses()) for v in inner):
        return None
    return _readers_first(order)


def _readers_first(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    left = list(nodes)
    ordered: list[ir.Node] = []
    while left:
        free = [n for n in left if not any(u.node in left for o in n.outputs for u in o.uses())]
        if not free:
            return ordered
        ordered += free
        left = [n for n in left if n not in free]
    return ordered


def replace(root: ir.Value, new: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Let ``new`` serve the readers of ``root``, and remove the nodes of its cone."""
    rewire.take_place(root, new)
    edits.drop(nodes)
