import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.passes import dims
from edgeq.passes.dims import symbol

A, B = symbol("a"), symbol("b")
SIZES = st.recursive(
    st.sampled_from([A, B, 0, 1, 2, 3, -1, Fraction(1, 2)]),
    lambda inner: st.tuples(
        st.sampled_from([dims.add, dims.subtract, dims.multiply]), inner, inner
    ).map(lambda made: made[0](made[1], made[2])),
    max_leaves=5,
)


def value(size, a, b):
    """The number that a polynomial is for two sizes."""
    if not isinstance(size, dims.Dim):
        return Fraction(size)
    at = {"a": a, "b": b}
    return sum(c * math.prod(at[name] for name in m) for m, c in size.terms)


@given(SIZES, SIZES, st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_arithmetic_is_that_of_numbers(p, q, a, b):
    x, y = value(p, a, b), value(q, a, b)
    assert value(dims.add(p, q), a, b) == x + y
    assert value(dims.subtract(p, q), a, b) == x - y
    assert value(dims.multiply(p, q), a, b) == x * y
    exact = dims.quotient(p, q)
    if exact is not None and y:
        assert value(exact, a, b) == x / y
    if dims.above(p, q):
        assert x > y
    if dims.at_least(p, q):
        assert x >= y
    if dims.integral(p):
        assert x == int(x)


def test_what_is_equal_looks_equal():
    assert dims.multiply(dims.add(A, B), 2) == dims.add(dims.multiply(2, B), dims.multiply(A, 2))
    assert dims.subtract(dims.add(A, 3), A) == 3
    assert dims.quotient(dims.multiply(dims.multiply(A, B), 12), dims.multiply(B, 4)) == (
        dims.multiply(A, 3)
    )
    assert dims.quotient(A, B) is None
    assert dims.quotient(dims.add(A, B), dims.add(A, B)) == 1


def test_rounding_leaves_whole_parts_outside():
    half = dims.quotient(A, 2)
    assert dims.floor(dims.multiply(half, 2)) == A
    assert dims.floor(dims.add(dims.multiply(A, 3), Fraction(7, 2))) == (
        dims.add(dims.multiply(A, 3), 3)
    )
    down = dims.floor(half)
    assert isinstance(down, dims.Dim)
    assert dims.floor(dims.add(half, 5)) == dims.add(down, 5)
    assert dims.ceil(Fraction(7, 2)) == 4
    assert dims.floor(dims.negative(Fraction(7, 2))) == -4


def test_the_smaller_of_a_size_and_a_number():
    limited = dims.limited(A, 512)
    assert dims.is_limited(limited, A)
    assert not dims.is_limited(limited, B)
    assert not dims.is_limited(A, A)
    assert dims.limited(3, 2) == 2


def test_long_polynomials_are_given_up():
    total = 0
    for index in range(16):
        total = dims.add(total, symbol(f"s{index}"))
    assert total is not None
    assert dims.add(total, symbol("more")) is None
