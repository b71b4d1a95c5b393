import numpy as np
from pass_graphs import apply, constant, listing, model

from edgeq.passes.fold_shapes import fold_shapes
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.outcome import Outcome
from edgeq.passes.remove_dead import remove_dead


def folded(found):
    def both(m):
        infer_shapes(m)
        outcome = fold_shapes(m)
        remove_dead(m)
        return Outcome(outcome.changes, outcome.declined)

    return apply(both, found)


def test_known_dimensions_of_a_dynamic_batch():
    text = """
g (float[N,3,8,8] x, int64[1] one) => (int64[1] y) {
  s = Shape(x)
  c = Gather(s, one)
  y = Add(c, one)
}
"""
    found, _ = folded(model(text, one=np.array([1])))
    assert listing(found) == "y = Identity(y__constant)"
    assert constant(found, "y__constant").tolist() == [4]


def test_a_reshape_target_with_one_unknown():
    text = """
g (float[N,3,8,8] x, int64[1] zero, int64[1] rest) => (float[?,192] y) {
  s = Shape(x)
  n = Gather(s, zero)
  t = Concat<axis=0>(n, rest)
  y = Reshape(x, t)
}
"""
    found, _ = folded(model(text, zero=np.array([0]), rest=np.array([192])))
    assert listing(found) == "y = Reshape(x, reshape_3__target)"
    assert constant(found, "reshape_3__target").tolist() == [-1, 192]


def test_unknown_dimensions_stay():
    text = "g (float[N,3] x, int64[1] z) => (int64[1] y) { s = Shape(x) y = Gather(s, z) }"
    found, _outcome = folded(model(text, z=np.array([0])))
    assert listing(found) == "s = Shape(x)\ny = Gather(s, z)"


def test_slices_and_sizes():
    text = """
g (float[N,3,8,8] x, int64[1] two, int64[1] far, int64[2] k) => (int64[2] y, int64 z) {
  s = Shape(x)
  h = Slice(s, two, far)
  y = Div(h, k)
  b = Shape<start=1>(x)
  z = Size(k)
}
"""
    parts = {"two": np.array([2]), "far": np.array([2**31]), "k": np.array([3, -3])}
    found, _ = folded(model(text, **parts))
    assert constant(found, "y__constant").tolist() == [2, -2]
    assert constant(found, "z__constant").tolist() == 2


def test_a_negative_dimension_is_unknown():
    found = model("g (float[N,3] x) => (int64[2] y) { y = Shape(x) }")
    found.graph.inputs[0].shape = type(found.graph.inputs[0].shape)([-1, 3])
    assert fold_shapes(found).changes == 0
