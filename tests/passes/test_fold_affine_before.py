import numpy as np
from pass_graphs import apply, constant, listing, model, numbers, ops

from edgeq.passes.fold_affine_before import fold_affine_before

PADDED = """
g (float[1,2,4,4] x, float[2,2,3,3] w, float s, float[2,1,1] t) => (float[1,2,4,4] y) {
  a = Mul(x, s)
  b = Add(a, t)
  y = Conv<pads=[1,1,1,1]>(b, w)
}
"""


def padded(text=PADDED, t=None):
    t = numbers(2, 1, 1) if t is None else t
    return model(text, w=numbers(2, 2, 3, 3), s=np.float32(2), t=t)


def test_a_padded_layer_takes_the_scale_only():
    found, _ = apply(fold_affine_before, padded())
    assert (
        listing(found) == "conv_2__before_1 = Add(x, conv_2__before)\ny = Conv(conv_2__before_1, w)"
    )
    np.testing.assert_allclose(constant(found, "conv_2__before"), numbers(2, 1, 1) / 2)


def test_an_unpadded_layer_takes_both():
    text = PADDED.replace("<pads=[1,1,1,1]>", "").replace("[1,2,4,4] y", "[1,2,2,2] y")
    found, _ = apply(fold_affine_before, padded(text))
    assert listing(found) == "y = Conv(x, w, conv_2__bias)"


def test_a_dwarfing_shift_stays():
    _, outcome = apply(fold_affine_before, padded(t=np.full((2, 1, 1), 1e5, np.float32)))
    assert outcome.changes == 0
    assert "dwarfs" in outcome.declined[0]


def test_gelu_in_front_of_a_product_stays():
    text = """
g (float[3,4] x, float[4,4] w, float h) => (float[3,4] y) {
  e = Erf(x)
  m = Mul(x, e)
  g = Mul(m, h)
  y = MatMul(g, w)
}
"""
    _, outcome = apply(fold_affine_before, model(text, w=numbers(4, 4), h=np.float32(0.5)))
    assert outcome.changes == 0
    assert "the runtime fuses" in outcome.declined[0]


def test_a_constant_that_enlarges_its_input_stays():
    text = (
        "g (float[3,1] x, float[4,2] w, float[4] k) => "
        "(float[3,2] y) { m = Mul(x, k) y = MatMul(m, w) }"
    )
    _, outcome = apply(fold_affine_before, model(text, w=numbers(4, 2), k=numbers(4)))
    assert outcome.changes == 0


def test_a_product_hands_the_shift_to_the_addition_behind_it():
    text = """
g (float[3,4] x, float[4,2] w, float[4] s, float[4] t, float[2] b) => (float[3,2] y) {
  m = Mul(x, s)
  a = Add(m, t)
  p = MatMul(a, w)
  y = Add(p, b)
}
"""
    parts = {"w": numbers(4, 2), "s": numbers(4), "t": numbers(4), "b": numbers(2)}
    found, _ = apply(fold_affine_before, model(text, **parts))
    assert listing(found).splitlines() == [
        "p = MatMul(x, w)", "matmul_2__add = Add(p, matmul_2__shift)", "y = Add(matmul_2__add, b)",
    ]  # fmt: skip


def test_channels_are_followed_through_a_transpose():
    text = """
g (float[1,4,4,2] x, float[2,2,3,3] w, float[2] s, float[2] t) => (float[1,2,4,4] y) {
  m = Mul(x, s)
  a = Sub(t, m)
  b = Transpose<perm=[0,3,1,2]>(a)
  y = Conv<pads=[1,1,1,1]>(b, w)
}
"""
    parts = {"w": numbers(2, 2, 3, 3), "s": numbers(2), "t": numbers(2, seed=1)}
    found, _ = apply(fold_affine_before, model(text, **parts))
    assert ops(found) == ["Transpose", "Add", "Conv"]
