import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.merge_layers import merge_layers


@pytest.mark.parametrize("first", ["MatMul(x, a)", "Gemm(x, a, c)", "Gemm<alpha=2.0>(x, a)"])
@pytest.mark.parametrize(
    "second", ["MatMul(h, b)", "Gemm<alpha=0.5, beta=2.0>(h, b, d)", "Gemm<transB=1>(h, e, d)"]
)
def test_products(first, second):
    text = f"""
g (float[N,8] x, float[8,9] a, float[9] c, float[9,4] b, float[4,9] e, float[4] d) => (float[N,4] y)
{{
  h = {first}
  y = {second}
}}
"""
    data = {"a": numbers(8, 9), "c": numbers(9, seed=1), "b": numbers(9, 4, seed=2),
            "e": numbers(4, 9, seed=2), "d": numbers(4, seed=3)}  # fmt: skip
    found, outcome = apply(merge_layers, model(text, **data))
    assert ops(found) == ["MatMul" if "Gemm" not in first + second else "Gemm"]
    assert outcome.changes == 1


def test_sequences_and_batches():
    text = """
g (float[N,T,8] x, float[8,9] a, float[9,4] b, float[4,4] c) => (float[N,T,4] y) {
  h = MatMul(x, a)
  i = MatMul(h, b)
  y = MatMul(i, c)
}
"""
    data = {"a": numbers(8, 9), "b": numbers(9, 4, seed=2), "c": numbers(4, 4, seed=3)}
    found, _ = apply(merge_layers, model(text, **data))
    assert ops(found) == ["MatMul"]


def test_narrow_middles_stay():
    text = """
g (float[N,8] x, float[8,2] a, float[2,8] b) => (float[N,8] y) {
  h = MatMul(x, a)
  y = MatMul(h, b)
}
"""
    found, outcome = apply(merge_layers, model(text, a=numbers(8, 2), b=numbers(2, 8)))
    assert ops(found) == ["MatMul", "MatMul"]
    assert "would have 64 weights instead of 32" in outcome.declined[0]


def test_other_readers_stay():
    text = """
g (float[N,8] x, float[8,8] a, float[8,4] b) => (float[N,4] y, float[N,8] h) {
  h = MatMul(x, a)
  y = MatMul(h, b)
}
"""
    _, outcome = apply(merge_layers, model(text, a=numbers(8, 8), b=numbers(8, 4)))
    assert outcome.changes == 0


CONV = """
g (float[N,6,9,8] x, float[8,6,{k},{k}] a, float[8] c, float[4,8,{m},{m}] b, float[4] d)
    => (float[N,4,?,?] y)
{{
  h = Conv<strides=[{s},{s}], pads=[{p},0,{p},0], dilations=[{e},1]>(x, a{c})
  y = Conv<strides=[{t},1], pads=[{q},{q},0,0]>(h, b, d)
}}
"""


@given(
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2)),
    st.tuples(st.sampled_from([1, 2]), st.integers(1, 2), st.integers(0, 1)),
    st.booleans(),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_convolutions(one, two, biased):
    (k, s, p, e), (m, t, q) = one, two
    text = CONV.format(k=k, s=s, p=p, e=e, m=m, t=t, q=q, c=", c" if biased else "")
    data = {"a": numbers(8, 6, k, k) - 1, "c": numbers(8, seed=1), "b": numbers(4, 8, m, m, seed=2),
            "d": numbers(4, seed=3)}  # fmt: skip
    found, outcome = apply(merge_layers, model(text, **data))
    behind = m == 1 and q == 0
    before = k == 1 and s == 1 and p == 0 and not (q and biased)
    assert outcome.changes == (behind or before)
    assert ops(found) == ["Conv"] * (2 - outcome.changes)


def test_groups_and_activations_stay():
    text = """
g (float[N,8,9,8] x, float[8,1,3,3] a, float[4,8,1,1] b, float[4,4,1,1] c) => (float[N,4,?,?] y) {
  h = Conv<group=8>(x, a)
  i = Conv(h, b)
  j = Relu(i)
  y = Conv(j, c)
}
"""
    data = {"a": numbers(8, 1, 3, 3), "b": numbers(4, 8, 1, 1), "c": numbers(4, 4, 1, 1)}
    _, outcome = apply(merge_layers, model(text, **data))
    assert outcome.changes == 0


def test_padding_by_size_stays():
    text = """
g (float[N,8,9,8] x, float[8,8,3,3] a, float[4,8,1,1] b) => (float[N,4,?,?] y) {
  h = Conv<auto_pad="SAME_UPPER">(x, a)
  y = Conv(h, b)
}
"""
    data = {"a": numbers(8, 8, 3, 3), "b": numbers(4, 8, 1, 1)}
    assert apply(merge_layers, model(text, **data))[1].changes == 0


def test_overflow_is_a_reason():
    text = """
g (float[N,8] x, float[8,8] a, float[8,4] b) => (float[N,4] y) {
  h = MatMul(x, a)
  y = MatMul(h, b)
}
"""
    data = {"a": np.full((8, 8), 1e30, np.float32), "b": np.full((8, 4), 1e30, np.float32)}
    _, outcome = apply(merge_layers, model(text, **data))
    assert "overflow" in outcome.declined[0]
