"""Sizes that differ from run to run, as exact arithmetic on symbols.

A size is a number or a :class:`Dim`: a polynomial in symbols with rational coefficients, so that
``2 * batch * seq - seq`` is told from ``batch * seq`` without running anything. Every symbol stands
for a size of the running model and is never negative; what is no polynomial (a quotient rounded
down) is a symbol of its own, named by what it is made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Monomial: TypeAlias = "tuple[str, ...]"
"""Symbols that are multiplied, in order; empty for 1."""

_MOST_TERMS = 16
"""Polynomials beyond that are given up: no model means them."""


@dataclass(frozen=True, slots=True)
class Dim:
    """A polynomial that holds at least one symbol.

    Attributes:
        terms: Monomials in order, each with its coefficient, none of which is 0.
    """

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __str__(self) -> str:
        return "+".join("*".join((str(c), *m)) for m, c in self.terms)


Size: TypeAlias = "int | Fraction | Dim"


def symbol(name: str) -> Dim:
    """The size that ``name`` stands for."""
    return Dim((((name,), Fraction(1)),))


def _terms(size: Size) -> tuple[tuple[Monomial, Fraction], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), Fraction(size)),) if size else ()


def _collect(terms: Iterable[tuple[Monomial, Fraction]]) -> Size | None:
    total: dict[Monomial, Fraction] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, Fraction(0)) + coefficient
    left = tuple(sorted((m, c) for m, c in total.items() if c))
    if any(m for m, _ in left):
        return Dim(left) if len(left) <= _MOST_TERMS else None
    return number(left[0][1]) if left else 0


def number(value: int | float | Fraction) -> int | Fraction:
    """A constant, as an int where it is one."""
    exact = Fraction(value)
    return int(exact) if exact.denominator == 1 else exact


def add(a: Size, b: Size) -> Size | None:
    """The sum; None when it is too long."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _collect((*_terms(a), *_terms(b)))


def is_symbol(a: Size) -> bool:
    """Whether a size is one symbol as it stands."""
    return isinstance(a, Dim) and len(a.terms) == 1 and a == symbol(*a.terms[0][0][:1])


def names(a: Size) -> tuple[str, ...]:
    """The symbols of a size, in order, each once."""
    return tuple(dict.fromkeys(name for monomial, _ in _terms(a) for name in monomial))


def evaluate(a: Size, sizes: Mapping[str, int]) -> Fraction:
    """What a size comes to.

    Args:
        a: The size.
        sizes: A number for each of its :func:`names`.
    """
    terms = _terms(a)
    return sum((c * math.prod(sizes[name] for name in m) for m, c in terms), Fraction(0))


def negative(a: Size) -> Size:
    """The number with the other sign."""
    return Dim(tuple((m, -c) for m, c in a.terms)) if isinstance(a, Dim) else -a


def subtract(a: Size, b: Size) -> Size | None:
    """The difference; None when it is too long."""
    return add(a, negative(b))


def multiply(a: Size, b: Size) -> Size | None:
    """The product; None when it is too long."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    left, right = _terms(a), _terms(b)
    if len(left) * len(right) > _MOST_TERMS**2:
        return None
    return _collect((tuple(sorted(m + n)), c * d) for m, c in left for n, d in right)


def product(sizes: Iterable[Size | None]) -> Size | None:
    """The product of all; None when one of them is unknown."""
    total: Size | None = 1
    for size in sizes:
        total = None if size is None or total is None else multiply(total, size)
    return total


def quotient(a: Size, b: Size) -> Size | None:
    """``a / b`` where that is a polynomial; symbols in ``b`` are taken to be positive."""
    if a == b and b != 0:
        return 1
    divisor = _terms(b)
    if len(divisor) != 1:
        return None
    (below, by), result = divisor[0], []
    for monomial, coefficient in _terms(a):
        left = list(monomial)
        for each in below:
            if each not in left:
                return None
            left.remove(each)
        result.append((tuple(left), coefficient / by))
    return _collect(result)


def floor(a: Size) -> Size | None:
    """The largest integer that is not above ``a``.

    Multiples of a symbol are integers and leave the brackets; what stays inside names the result.
    """
    whole = [(m, Fraction(math.floor(c))) for m, c in _terms(a)]
    rest = _collect((m, c - math.floor(c)) for m, c in _terms(a))
    outside = _collect(whole)
    if not isinstance(rest, Dim):
        return outside
    return None if outside is None else add(outside, symbol(f"floor({rest})"))


def ceil(a: Size) -> Size | None:
    """The smallest integer that is not below ``a``."""
    down = floor(negative(a))
    return None if down is None else negative(down)


def integral(a: Size) -> bool:
    """Whether ``a`` is an integer whatever its symbols are."""
    return all(c.denominator == 1 for _, c in _terms(a))


def least(a: Size) -> Fraction | None:
    """A number that ``a`` is never below; None when none is seen."""
    if any(m and c < 0 for m, c in _terms(a)):
        return None
    return next((c for m, c in _terms(a) if not m), Fraction(0))


def at_least(a: Size, b: Size) -> bool:
    """Whether ``a >= b`` in every run."""
    apart = subtract(a, b)
    low = None if apart is None else least(apart)
    return low is not None and low >= 0


def above(a: Size, b: Size) -> bool:
    """Whether ``a > b`` in every run."""
    apart = subtract(a, b)
    low = None if apart is None else least(apart)
    return low is not None and low > 0


def limited(a: Size, limit: int) -> Size:
    """The smaller of a size and a number."""
    if isinstance(a, int):
        return min(a, limit)
    return symbol(f"min({limit}, {a})")


def is_limited(a: Size, whole: Size) -> bool:
    """Whether ``a`` is the smaller of ``whole`` and a number that is at least 2."""
    if not (isinstance(a, Dim) and isinstance(whole, Dim)) or len(a.terms) != 1:
        return False
    name = a.terms[0][0][0]
    return a.terms[0][1] == 1 and name.startswith("min(") and name.endswith(f", {whole})")
