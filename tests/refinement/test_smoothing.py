"""Outliers in channels move out of what products read, and the float model computes what it did."""

import graphs
import numpy as np
import pytest
from rewriting import gain, rewrite

from edgeq.refinement.smoothing import migrate_scales

OUTLIERS = np.ones(8, np.float32)
OUTLIERS[[1, 5]] = 60


def smooth(model, samples=None, **options):
    return rewrite(model, samples, step=migrate_scales, **options)


def weights(**shapes):
    return {
        name: graphs.numbers(seed, *shape) for seed, (name, shape) in enumerate(shapes.items(), 1)
    }


BEFORE = {
    "normalization": ("y = LayerNormalization<axis=-1>(x, s, t)", ("LayerNormalization",)),
    "unbiased normalization": ("y = LayerNormalization<axis=-1>(x, s)", ("LayerNormalization",)),
    "constants": ("e = Tanh(x) k = Mul(e, s) y = Add(k, t)", ("Tanh", "Mul", "Add")),
    "product": ("e = Tanh(x) k = MatMul(e, outlying) y = Add(k, t)", ("Tanh", "MatMul", "Add")),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("opset", [17, 20])
def test_what_makes_the_value_takes_the_inverse_up(name, opset):
    text, kept = BEFORE[name]
    constants = {
        "s": OUTLIERS,
        "t": OUTLIERS * graphs.numbers(3, 8),
        "outlying": graphs.numbers(4, 8, 8) * OUTLIERS,
        **weights(q=(8, 5), k2=(8, 5)),
    }
    used = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    model = graphs.build(
        f"n (float[1,7,8] x) => (float[1,7,5] z, float[1,7,5] u)"
        f"{{ {text} z = MatMul(y, q) u = MatMul(y, k2) }}",
        opset,
        **{n: a for n, a in constants.items() if n in used or n in ("q", "k2")},
    )
    found = smooth(model)
    ops = [n.op_type for n in found.model.graph]
    assert tuple(ops) == (*kept, "MatMul", "MatMul")
    assert "y" in found.changed
    assert gain(model, found) > 2


def test_a_shared_mul_where_the_value_is_read_otherwise():
    model = graphs.build(
        "n (float[1,7,8] x) => (float[1,7,5] z, float[1,7,8] w)"
        "{ y = LayerNormalization<axis=-1>(x, s, t) a = MatMul(y, q) b = MatMul(y, k)"
        " z = Add(a, b) w = Softmax(y) }",
        s=OUTLIERS, t=OUTLIERS, **weights(q=(8, 5), k=(8, 5)),
    )  # fmt: skip
    assert smooth(model, least_gain=np.inf).scaled == 0
    found = smooth(model)
    muls = [n for n in found.model.graph if n.op_type == "Mul"]
    assert len(muls) == 1
    assert [n.op_type for n in muls[0].outputs[0].consumers()] == ["MatMul", "MatMul"]
    assert found.changed == {"y__scaled"}
    assert gain(model, found) > 2


def test_no_mul_for_channels_that_are_alike():
    model = graphs.build(
        "n (float[1,7,8] x) => (float[1,7,5] z) { y = Softmax(x) z = MatMul(y, q) }",
        **weights(q=(8, 5)),
    )
    found = smooth(model)
    assert found.scaled == 0
    assert len(found.model.graph) == 2


def test_values_of_an_attention_take_factors_through_it():
    model = graphs.build(
        "n (float[1,7,8] x) => (float[1,7,6] z)"
        "{ v = MatMul(x, wv) v1 = Add(v, bv) v2 = Reshape(v1, heads)"
        " v3 = Transpose<perm=[0,2,1,3]>(v2) q = MatMul(x, wq) q2 = Reshape(q, heads)"
        " q3 = Transpose<perm=[0,2,1,3]>(q2) k3 = Transpose<perm=[0,2,3,1]>(q2)"
        " s = MatMul(q3, k3) p = Softmax(s) c = MatMul(p, v3)"
        " c1 = Transpose<perm=[0,2,1,3]>(c) c2 = Reshape(c1, flat) z = MatMul(c2, wo) }",
        heads=np.array([1, 7, 2, 4]), flat=np.array([1, 7, 8]), bv=graphs.numbers(9, 8) * OUTLIERS,
        wv=graphs.numbers(1, 8, 8) * OUTLIERS, wq=graphs.numbers(2, 8, 8, scale=0.2),
        wo=graphs.numbers(3, 8, 6),
    )  # fmt: skip
    found = smooth(model)
    assert {"v", "v1", "v2", "v3", "c", "c1", "c2"} <= found.changed
    assert not {"q", "q2", "q3", "k3", "s", "p"} & found.changed
    assert not any(n.op_type == "Mul" for n in found.model.graph)
    assert gain(model, found) > 0.5


def test_the_arithmetic_of_a_gelu_is_left_whole():
    text = (
        "n (float[1,7,8] x) => (float[1,7,5] z) { h = MatMul(x, w) d = Div(h, root) e = Erf(d)"
        " f = Add(e, one) g = Mul(h, f) y = Mul(g, half) z = MatMul(y, q) }"
    )
    scalars = {n: np.float32(a) for n, a in (("root", 2**0.5), ("one", 1), ("half", 0.5))}
    model = graphs.build(text, w=graphs.numbers(1, 8, 8) * OUTLIERS, q=graphs.numbers(2, 8, 5),
                         **scalars)  # fmt: skip
    found = smooth(model, least_gain=np.inf)
    ops = [n.op_type for n in found.model.graph]
    assert ops == ["MatMul", "Div", "Erf", "Add", "Mul", "Mul", "MatMul"]
    made = found.model.graph.initializers
    assert [made[n].const_value.size for n in scalars] == [1, 1, 1]


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_reads_and_writes_factors(transposed):
    w = graphs.numbers(1, 8, 8) * OUTLIERS
    model = graphs.build(
        "n (float[6,8] x) => (float[6,5] z)"
        f"{{ h = Gemm<alpha=0.5, beta=2.0, transB={transposed}>(x, w, b)"
        f" r = Relu(h) z = Gemm<transB={transposed}>(r, q, c) }}",
        w=w.T.copy() if transposed else w, b=OUTLIERS,
        q=graphs.numbers(2, *((5, 8) if transposed else (8, 5))), c=graphs.numbers(3, 5),
    )  # fmt: skip
    assert {"h", "r"} <= smooth(model).changed


def test_a_gemm_that_turns_its_input_is_left_alone():
    model = graphs.build(
        "n (float[6,8] x) => (float[8,5] z) { h = MatMul(x, w) r = Relu(h)"
        " z = Gemm<transA=1>(r, q) }",
        w=graphs.numbers(1, 8, 8) * OUTLIERS, q=graphs.numbers(2, 6, 5),
    )  # fmt: skip
    assert smooth(model).scaled == 0


def test_convolutions_are_left_to_equalization():
    model = graphs.build(
        "n (float[1,3,4,4] x) => (float[1,4,4,4] z) { m = Conv(x, w) z = Conv(m, v) }",
        w=graphs.numbers(1, 8, 3, 1, 1) * OUTLIERS.reshape(8, 1, 1, 1),
        v=graphs.numbers(2, 4, 8, 1, 1),
    )
    assert smooth(model).scaled == 0
