import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, constant, model, numbers, ops

from edgeq.passes.merge_branches import merge_branches


def normalization(channels):
    return {
        "scale": numbers(channels, seed=5),
        "shift": numbers(channels, seed=6) - 1,
        "mean": numbers(channels, seed=7),
        "variance": numbers(channels, seed=8),
    }


REPVGG = """
g (float[N,6,9,7] x, float[6,{i},3,3] a, float[6] b, float[6,{i},1,1] c, float[6] d,
   float[6] scale, float[6] shift, float[6] mean, float[6] variance) => (float[N,6,?,?] y)
{{
  p = Conv<group={g}, pads=[1,1,1,1]>(x, a, b)
  q = Conv<group={g}>(x, c, d)
  r = BatchNormalization(x, scale, shift, mean, variance)
  {sums}
}}
"""

SUMS = (
    "s = Add(p, q)  y = Add(s, r)",
    "s = Add(r, q)  y = Add(p, s)",
    "y = Sum(r, p, q)",
    "s = Sub(p, q)  t = Sub(r, s)  y = Relu(t)",
    "s = Sub(q, p)  y = Sub(s, r)",
)


@pytest.mark.parametrize("sums", SUMS)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_repvgg(sums, groups):
    text = REPVGG.format(g=groups, i=6 // groups, sums="\n  ".join(sums.split("  ")))
    data = {"a": numbers(6, 6 // groups, 3, 3) - 1, "b": numbers(6, seed=1),
            "c": numbers(6, 6 // groups, 1, 1, seed=2), "d": numbers(6, seed=3)}  # fmt: skip
    found, outcome = apply(merge_branches, model(text, **data, **normalization(6)))
    assert ops(found) == ["Conv"] + ["Relu"] * sums.count("Relu")
    assert outcome.changes == 2


KERNELS = """
g (float[N,4,11] x, float[8,4,{k}] a, float[8,4,{m}] b, float[8] c) => (float[N,8,?] y)
{{
  p = Conv<strides=[{s}], dilations=[{d}], pads=[{p}]>(x, a)
  q = Conv<strides=[{s}], dilations=[{e}], pads=[{q}]>(x, b, c)
  y = {op}(p, q)
}}
"""


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
    st.tuples(st.integers(0, 3), st.integers(0, 3)), st.integers(0, 3), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_two_kernels(k, m, stride, d, e, pads, begin, subtracts):
    end = sum(pads) - (k - 1) * d + (m - 1) * e - begin
    if end < 0:
        return
    text = KERNELS.format(
        k=k, m=m, s=stride, d=d, e=e, p=f"{pads[0]},{pads[1]}", q=f"{begin},{end}",
        op="Sub" if subtracts else "Add",
    )  # fmt: skip
    data = {"a": numbers(8, 4, k) - 1, "b": numbers(8, 4, m, seed=1) - 1, "c": numbers(8, seed=2)}
    found, outcome = apply(merge_branches, model(text, **data))
    dilation = e if k == 1 else d
    agree = k == 1 or m == 1 or d == e
    first = min(-pads[0], -begin)
    last = max((k - 1) * dilation - pads[0], (m - 1) * dilation - begin)
    meets = agree and (pads[0] - begin) % (1 if k == m == 1 else dilation) == 0
    taps = (last - first) // (1 if k == m == 1 else dilation) + 1
    assert outcome.changes == (meets and taps <= k + m)
    assert len(ops(found)) == 3 - 2 * outcome.changes


def test_the_value_itself():
    text = """
g (float[N,4,9,9] x, float[4,4,3,3] a) => (float[N,4,9,9] y, float[N,4,9,9] z) {
  h = Relu(x)
  p = Conv<pads=[1,1,1,1]>(h, a)
  y = Add(h, p)
  z = Sigmoid(h)
}
"""
    found, _ = apply(merge_branches, model(text, a=numbers(4, 4, 3, 3)))
    assert ops(found) == ["Relu", "Conv", "Sigmoid"]


@pytest.mark.parametrize(
    ("attributes", "kernel", "shape"),
    [
        ("strides=[2,2]", 1, "float[N,4,5,5]"),
        ("pads=[0,0,0,0]", 2, "float[N,4,8,8]"),
        ('auto_pad="SAME_UPPER"', 3, "float[N,4,9,9]"),
        ("dilations=[2,2], pads=[2,2,2,2]", 3, "float[N,4,9,9]"),
    ],
)
def test_what_lies_elsewhere_stays(attributes, kernel, shape):
    text = f"""
g (float[N,4,9,9] x, float[4,4,{kernel},{kernel}] a, float[4,4,5,5] b) => ({shape} y) {{
  p = Conv<{attributes}>(x, a)
  q = Conv<pads=[{"3,3,1,1" if kernel == 3 else "0,0,0,0"}]>(x, b)
  y = Add(p, q)
}}
"""
    before = model(text, shapes=False, a=numbers(4, 4, kernel, kernel), b=numbers(4, 4, 5, 5))
    found, outcome = apply(merge_branches, before, runs=kernel == 3)
    assert outcome.changes == 0
    assert ops(found) == ["Conv", "Conv", "Add"]


def test_more_weights_are_a_reason():
    text = """
g (float[N,4,9,9] x, float[4,4,1,5] a, float[4,4,3,1] b) => (float[N,4,9,9] y) {
  p = Conv<pads=[0,2,0,2]>(x, a)
  q = Conv<pads=[1,0,1,0]>(x, b)
  y = Add(p, q)
}
"""
    data = {"a": numbers(4, 4, 1, 5), "b": numbers(4, 4, 3, 1)}
    _, outcome = apply(merge_branches, model(text, **data))
    assert outcome.changes == 0
    assert "would have 240 weights instead of 128" in outcome.declined[0]


def test_the_largest_kernel_takes_the_others_first():
    text = """
g (float[N,4,9,9] x, float[4,4,1,3] a, float[4,4,3,1] b, float[4,4,3,3] c) => (float[N,4,9,9] y) {
  p = Conv<pads=[0,1,0,1]>(x, a)
  q = Conv<pads=[1,0,1,0]>(x, b)
  r = Conv<pads=[1,1,1,1]>(x, c)
  s = Add(p, q)
  y = Add(s, r)
}
"""
    data = {"a": numbers(4, 4, 1, 3), "b": numbers(4, 4, 3, 1), "c": numbers(4, 4, 3, 3)}
    found, _ = apply(merge_branches, model(text, **data))
    assert ops(found) == ["Conv"]


@pytest.mark.parametrize("other", ["Relu(p)", "Identity(q)"])
def test_other_readers_stay(other):
    text = f"""
g (float[N,4,9] x, float[4,4,3] a, float[4,4,1] b) => (float[N,4,9] y, float[N,4,9] z) {{
  p = Conv<pads=[1,1]>(x, a)
  q = Conv(x, b)
  y = Add(p, q)
  z = {other}
}}
"""
    data = {"a": numbers(4, 4, 3), "b": numbers(4, 4, 1)}
    assert apply(merge_branches, model(text, **data))[1].changes == 0


def test_a_body_is_another_reader():
    text = """
g (float[N,4,9] x, bool c, float[4,4,3] a, float[4,4,1] b) => (float[N,4,9] y, float[N,4,9] z) {
  p = Conv<pads=[1,1]>(x, a)
  q = Conv(x, b)
  y = Add(p, q)
  z = If(c) <then_branch = t () => (float[N,4,9] u) { u = Relu(q) },
             else_branch = e () => (float[N,4,9] v) { v = Neg(x) }>
}
"""
    data = {"a": numbers(4, 4, 3), "b": numbers(4, 4, 1)}
    assert apply(merge_branches, model(text, **data))[1].changes == 0


def test_bodies():
    text = """
g (float[N,4,9] x, bool c, float[4,4,3] a, float[4,4,1] b) => (float[N,4,9] z) {
  z = If(c) <then_branch = t () => (float[N,4,9] y) {
               p = Conv<pads=[1,1]>(x, a)
               q = Conv(x, b)
               y = Add(p, q)
             },
             else_branch = e () => (float[N,4,9] v) { v = Neg(x) }>
}
"""
    data = {"a": numbers(4, 4, 3), "b": numbers(4, 4, 1)}
    found, _ = apply(merge_branches, model(text, **data))
    assert ops(found) == ["If", "Conv", "Neg"]


PRODUCTS = """
g (float[N,8] x, float[8,8] a, float[8,8] b, float[8] c) => (float[N,8] y) {{
  p = {first}
  q = {second}
  y = Add(p, q)
}}
"""


@pytest.mark.parametrize("first", ["MatMul(x, a)", "Gemm<alpha=2.0, beta=0.5>(x, a, c)"])
@pytest.mark.parametrize(
    "second", ["MatMul(x, b)", "Gemm<alpha=0.5, transB=1>(x, b, c)", "Neg(x)", "Mul(x, c)"]
)
def test_products(first, second):
    text = PRODUCTS.format(first=first, second=second)
    data = {"a": numbers(8, 8) - 1, "b": numbers(8, 8, seed=1) - 1, "c": numbers(8, seed=2)}
    found, outcome = apply(merge_branches, model(text, **data))
    assert outcome.changes == 1
    assert ops(found) == ["Gemm" if "Gemm" in first + second else "MatMul"]


def test_a_product_has_no_bias():
    text = PRODUCTS.format(first="MatMul(x, a)", second="Sub(x, c)")
    _, outcome = apply(merge_branches, model(text, a=numbers(8, 8), b=numbers(8, 8), c=numbers(8)))
    assert outcome.changes == 0


def test_other_terms_and_shapes_stay():
    text = """
g (float[N,4,9] x, float[4,1] w, float[4,4,3] a, float[4,4,1] b) => (float[N,4,9] y) {
  p = Conv<pads=[1,1]>(x, a)
  q = Conv(x, b)
  r = Relu(w)
  s = Add(r, q)
  t = Add(s, r)
  y = Add(t, p)
}
"""
    found, outcome = apply(merge_branches, model(text, a=numbers(4, 4, 3), b=numbers(4, 4, 1)))
    assert sorted(ops(found)) == ["Add", "Add", "Conv", "Relu"]
    assert outcome.changes == 1
    inner = next(n for n in found.graph if n.op_type == "Add").outputs[0]
    assert inner.shape is None


def test_broadcast_channels_stay():
    text = """
g (float[N,1,9] x, float[4,1,3] a) => (float[N,4,9] y) {
  p = Conv<pads=[1,1]>(x, a)
  y = Add(x, p)
}
"""
    assert apply(merge_branches, model(text, a=numbers(4, 1, 3)))[1].changes == 0


def test_a_difference_from_the_layer():
    text = """
g (float[N,4,9] x, float[4,4,3] a) => (float[N,4,9] y) {
  p = Conv<pads=[1,1]>(x, a)
  q = Sub(x, p)
  y = Relu(q)
}
"""
    weight = numbers(4, 4, 3)
    found, _ = apply(merge_branches, model(text, a=weight))
    assert ops(found) == ["Conv", "Relu"]
    expected = -weight
    expected[range(4), range(4), 1] += 1
    assert np.allclose(constant(found, "a"), expected)


def test_what_is_diminished_elsewhere_stays():
    text = """
g (float[N,4,9] x, float[N,4,9] w, float[4,4,3] a, float[4,4,1] b) => (float[N,4,9] y) {
  p = Conv<pads=[1,1]>(x, a)
  q = Conv(x, b)
  r = Sub(q, w)
  y = Add(r, p)
}
"""
    found, outcome = apply(merge_branches, model(text, a=numbers(4, 4, 3), b=numbers(4, 4, 1)))
    assert len(ops(found)) == 4 - outcome.changes


def test_half_precision_and_overflow():
    text = """
g (float16[N,4,9] x, float16[4,4,3] a, float16[4,4,1] b) => (float16[N,4,9] y) {
  p = Conv<pads=[1,1]>(x, a)
  q = Conv(x, b)
  y = Add(p, q)
}
"""
    a, b = np.full((4, 4, 3), 6e4, np.float16), np.full((4, 4, 1), 6e4, np.float16)
    _, outcome = apply(merge_branches, model(text, a=a, b=b), runs=False)
    assert "overflow" in outcome.declined[0]
    small = model(text, a=a / np.float16(3e4), b=b / np.float16(3e4))
    assert ops(apply(merge_branches, small, runs=False)[0]) == ["Conv"]
