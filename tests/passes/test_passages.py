import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.fold_affine_after import fold_affine_after
from edgeq.passes.fold_affine_before import fold_affine_before

BEHIND = {
    "MaxPool": "m = MaxPool<kernel_shape=[2,2], pads=[1,0,0,1]>(c)",
    "AveragePool": "m = AveragePool<kernel_shape=[2,2], strides=[2,2]>(c)",
    "GlobalAveragePool": "m = GlobalAveragePool(c)",
    "GlobalMaxPool": "m = GlobalMaxPool(c)",
    "ReduceMean": "m = ReduceMean<axes=[-1]>(c)",
    "Resize": 'm = Resize<mode="linear">(c, , scales)',
    "Flat": "m = Reshape(c, flat)",
}
CONV = """
g (float[N,3,6,6] x, float[4,3,3,3] w, float[4] b, float[1,4,1,1] s, float[1,4,1,1] t,
   float[4] scales, int64[4] flat) => (float[?,?,?,?] y) {
  c = Conv<pads=[1,1,1,1]>(x, w, b)
  MIDDLE
  p = Mul(m, s)
  y = Add(p, t)
}
"""


def parts(sign=1.0):
    return {
        "w": numbers(4, 3, 3, 3), "b": numbers(4, seed=1), "s": sign * numbers(1, 4, 1, 1, seed=2),
        "t": numbers(1, 4, 1, 1, seed=3), "scales": np.array([1, 1, 2, 2], np.float32),
        "flat": np.array([0, 4, 1, -1]),
    }  # fmt: skip


@pytest.mark.parametrize("middle", BEHIND)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_behind_a_convolution(middle, sign):
    text = CONV.replace("MIDDLE", BEHIND[middle])
    found, _ = apply(fold_affine_after, model(text, **parts(np.float32(sign))))
    kept = sign < 0 and "Max" in middle
    assert ops(found)[2:] == (["Mul", "Add"] if kept else [])


def test_averages_with_zeros_keep_what_is_added():
    middle = "m = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1], count_include_pad=1>(c)"
    found, _ = apply(fold_affine_after, model(CONV.replace("MIDDLE", middle), **parts()))
    assert ops(found) == ["Conv", "AveragePool", "Mul", "Add"]
    left_out = middle.replace("count_include_pad=1", "count_include_pad=0")
    found, _ = apply(fold_affine_after, model(CONV.replace("MIDDLE", left_out), **parts()))
    assert ops(found) == ["Conv", "AveragePool"]


@pytest.mark.parametrize("rectifier", ["Relu(c)", "LeakyRelu<alpha=0.1>(c)", "PRelu(c, s)"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_positive_factors_behind_rectifiers(rectifier, sign):
    text = CONV.replace("MIDDLE", f"m = {rectifier}")
    found, _ = apply(fold_affine_after, model(text, **parts(np.float32(sign))))
    assert ops(found)[2:] == (["Mul", "Add"] if sign < 0 else ["Add"])


DENSE = """
g (float[N,T,6] x, int64[2] rows, float[6,4] w, int64[3] back, float[4] s, float[4] t)
    => (float[?,?,4] y)
{
  r = Reshape(x, rows)
  c = MatMul(r, w)
  m = Reshape(c, back)
  p = Mul(m, s)
  y = Add(p, t)
}
"""


def test_dense_layers_of_sequences():
    data = {
        "rows": np.array([-1, 6]), "w": numbers(6, 4), "back": np.array([-1, 3, 4]),
        "s": numbers(4, seed=1), "t": numbers(4, seed=2),
    }  # fmt: skip
    samples = [{"x": numbers(2, 3, 6)}]
    found, _ = apply(fold_affine_after, model(DENSE, **data), samples)
    # The Add is next to the product now, where runtimes take it up.
    assert ops(found) == ["Reshape", "MatMul", "Add", "Reshape"]


def test_a_bias_behind_a_squeeze():
    text = """
g (float[N,3,6,1] x, float[4,3,3,1] w, int64[1] last, float[1,4,1] t) => (float[?,4,?] y) {
  c = Conv(x, w)
  m = Squeeze(c, last)
  y = Add(m, t)
}
"""
    data = {"w": numbers(4, 3, 3, 1), "last": np.array([3]), "t": numbers(1, 4, 1, seed=1)}
    found, _ = apply(fold_affine_after, model(text, **data))
    assert ops(found) == ["Conv", "Squeeze"]


def test_a_mean_stays_behind_its_product():
    text = """
g (float[N,5,6] x, float[6,4] w, float[4] s, float[4] t) => (float[N,1,4] y) {
  c = MatMul(x, w)
  m = ReduceMean<axes=[1]>(c)
  p = Mul(m, s)
  y = Add(p, t)
}
"""
    data = {"w": numbers(6, 4), "s": numbers(4, seed=1), "t": numbers(4, seed=2)}
    found, _ = apply(fold_affine_after, model(text, **data))
    assert ops(found) == ["MatMul", "ReduceMean", "Mul", "Add"]


GEMM = """
g (float[N,3,2,4] x, float[1,3,1,1] s, float[3,1,1] t, float[K,5] w, float[5] b) => (float[N,5] y) {
  p = Mul(x, s)
  q = Add(p, t)
  MIDDLE
  y = Gemm(f, w, b)
}
"""


@pytest.mark.parametrize(
    ("middle", "count"),
    [
        ("f = Flatten(q)", 24),
        ("m = GlobalAveragePool(q)\n f = Flatten(m)", 3),
        ("m = MaxPool<kernel_shape=[2,2]>(q)\n f = Flatten(m)", 9),
        ("m = MaxPool<kernel_shape=[2,2]>(q)\nu = Transpose<perm=[0,3,2,1]>(m)\nf = Flatten(u)", 9),
        ("m = Transpose<perm=[0,2,3,1]>(q)\n f = Flatten(m)", 24),
    ],
)
def test_in_front_of_a_gemm(middle, count):
    text = GEMM.replace("MIDDLE", middle).replace("K", str(count))
    data = {
        "s": numbers(1, 3, 1, 1), "t": numbers(3, 1, 1, seed=1), "w": numbers(count, 5),
        "b": numbers(5, seed=2),
    }  # fmt: skip
    found, _ = apply(fold_affine_before, model(text, **data))
    assert "Mul" not in ops(found)
    assert "Add" not in ops(found)


@given(st.lists(st.sampled_from(["pool", "relu", "leaky", "flat", "turn"]), max_size=3), st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_passages_between(names, data):
    """Whatever stands between, both passes leave the numbers as they are."""
    lines, value, rank = [], "a", 4
    for index, name in enumerate(names):
        new = f"v{index}"
        if name == "pool" and rank == 4:
            lines.append(f"{new} = MaxPool<kernel_shape=[2,2]>({value})")
        elif name == "flat" and rank == 4:
            lines.append(f"{new} = Reshape({value}, flat)")
            rank = 3
        elif name == "turn" and rank == 4:
            lines.append(f"{new} = Transpose<perm=[0,1,3,2]>({value})")
        else:
            lines.append(
                f"{new} = {'LeakyRelu<alpha=0.2>' if name == 'leaky' else 'Relu'}({value})"
            )
        value = new
    shape = "[4,1,1]" if rank == 4 else "[4,1]"
    signs = data.draw(st.sampled_from([1.0, -1.0]))
    text = f"""
g (float[N,3,8,8] x, float[4,3,3,3] w, float[4] b, float{shape} s, float{shape} t, int64[3] flat,
   float[4,1,1] u) => (float[?,{",".join("?" * (rank - 1))}] y)
{{
  c = Conv(x, w, b)
  a = Mul(c, u)
  {" ".join(lines)}
  p = Mul({value}, s)
  y = Add(p, t)
}}
"""
    size = (4, 1, 1) if rank == 4 else (4, 1)
    found = model(
        text, w=numbers(4, 3, 3, 3) - 1, b=numbers(4, seed=1), s=numbers(*size) * np.float32(signs),
        t=numbers(*size, seed=4), flat=np.array([0, 4, -1]), u=numbers(4, 1, 1) - 1,
    )  # fmt: skip
    apply(fold_affine_after, found)
    apply(fold_affine_before, found)
