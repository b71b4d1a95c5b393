import numpy as np
import pytest
from pass_graphs import apply, listing, model, numbers, ops

from edgeq.passes.merge_affine import merge_affine

TEXT = """
g (float[2,3] x, float a, float[3] b, float c) => (float[2,3] y) {
  p = Mul(x, a)
  q = Sub(b, p)
  r = Div(q, c)
  y = Neg(r)
}
"""


def test_a_run_becomes_one_product_and_one_sum():
    found = model(TEXT, a=np.float32(2), b=numbers(3), c=np.float32(4))
    found, outcome = apply(merge_affine, found)
    assert outcome.changes == 1
    assert listing(found) == (
        "mul_0__mul_1 = Mul(x, mul_0__mul)\ny = Add(mul_0__mul_1, mul_0__add)"
    )


def test_two_that_stay_two_are_left():
    text = "g (float[2] x, float a, float b) => (float[2] y) { p = Mul(x, a) y = Add(p, b) }"
    _, outcome = apply(merge_affine, model(text, a=np.float32(2), b=np.float32(1)))
    assert outcome == type(outcome)()


def test_integers_are_left():
    text = "g (int64[2] x, int64 a, int64 b) => (int64[2] y) { p = Div(x, a) y = Mul(p, b) }"
    _, outcome = apply(merge_affine, model(text, a=np.int64(2), b=np.int64(2)))
    assert outcome.changes == 0


def test_constants_that_would_grow_are_left():
    text = (
        "g (float[4,4] x, float[4,1] a, float[4] b) => "
        "(float[4,4] y) { p = Mul(x, a) y = Mul(p, b) }"
    )
    _, outcome = apply(merge_affine, model(text, a=numbers(4, 1), b=numbers(4)))
    assert "larger" in outcome.declined[0]


@pytest.mark.parametrize("shape", ["[N,3]", "[2,3]"])
def test_what_cancels_goes(shape):
    text = f"g (float{shape} x, float a, float b) => (float{shape} y) {{ "
    text += "r = Relu(x) p = Mul(r, a) q = Neg(p) s = Div(q, b) y = Abs(s) }"
    found = model(text, a=np.float32(2), b=np.float32(-2))
    assert ops(apply(merge_affine, found)[0]) == ["Relu", "Abs"]


def test_what_cancels_between_the_ends_of_the_graph_stays():
    text = "g (float[2] x, float a) => (float[2] y) { p = Mul(x, a) y = Div(p, a) }"
    assert apply(merge_affine, model(text, a=np.float32(2)))[1].changes == 0


def test_what_cancels_and_enlarges_stays():
    text = (
        "g (float[2] x, float[3,1] a) => (float[3,2] y) { p = Mul(x, a) q = Div(p, a) y = Abs(q) }"
    )
    assert apply(merge_affine, model(text, a=numbers(3, 1)))[1].changes == 0


def test_equal_numbers_become_one():
    text = """
g (float[2,3] x, float[3] a, float[3] b, float[3] c) => (float[2,3] y) {
  p = Mul(x, a)
  q = Add(p, b)
  y = Mul(q, c)
}
"""
    data = {name: np.full(3, number, np.float32) for name, number in (("a", 2), ("b", 3), ("c", 4))}
    found, _ = apply(merge_affine, model(text, **data))
    shapes = [v.const_value.shape.numpy() for n in found.graph for v in n.inputs if v.const_value]
    assert shapes == [(), ()]
