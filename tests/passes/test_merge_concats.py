import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, ops

from edgeq.passes.merge_concats import merge_concats
from edgeq.passes.remove_dead import remove_dead

A = np.array


def joined(text, opset=17, **constants):
    return apply(merge_concats, model(text, opset, **constants))


def test_concatenations_along_one_axis():
    text = """
g (float[n,3] x, float[n,2] w, float[n,4] z) => (float[n,?] y) {
  p = Concat<axis=1>(x, w)
  q = Concat<axis=-1>(z, x)
  y = Concat<axis=1>(p, z, q)
}
"""
    found, _ = joined(text)
    assert ops(found) == ["Concat"]
    assert [v.name for v in found.graph[0].inputs] == ["x", "w", "z", "z", "x"]


def test_other_axes_and_other_readers_stay():
    text = """
g (float[2,3] x, float[2,3] w) => (float[?,?] y, float[?,?] z, float[?,?] q) {
  p = Concat<axis=0>(x, w)
  y = Concat<axis=1>(p, p)
  q = Concat<axis=1>(x, w)
  z = Concat<axis=1>(q, x)
}
"""
    found, outcome = joined(text)
    assert outcome.changes == 0
    assert ops(found) == ["Concat"] * 4


def test_a_split_put_together_again():
    text = """
g (float[n,6] v, int64[2] sizes) => (float[n,6] y) {
  x = Relu(v)
  p, q = Split<axis=1>(x, sizes)
  r = Concat<axis=1>(p, q)
  y = Abs(r)
}
"""
    found, _ = joined(text, sizes=A([2, 4]))
    assert "Concat" not in ops(found)
    found, outcome = joined(text.replace("(p, q)", "(q, p)"), sizes=A([2, 4]))
    assert outcome.changes == 0


@given(st.lists(st.integers(0, 7), min_size=4, max_size=6))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_slices_of_one_value(bounds):
    pairs = list(itertools.pairwise(bounds))
    lines = [f"p{i} = Slice(x, b{i}, e{i}, axis)" for i in range(len(pairs))]
    names = ", ".join(f"p{i}" for i in range(len(pairs)))
    inputs = ", ".join(f"int64[1] b{i}, int64[1] e{i}" for i in range(len(pairs)))
    body = "\n".join([*lines, f"c = Concat<axis=1>({names})", "y = Relu(c)"])
    parts = {f"{k}{i}": A([v]) for i, p in enumerate(pairs) for k, v in zip("be", p, strict=True)}
    found, _ = joined(
        f"g (float[n,7] x, int64[1] axis, {inputs}) => (float[?,?] y) {{ {body} }}",
        axis=A([1]), **parts,
    )  # fmt: skip
    remove_dead(found)
    if bounds == sorted(bounds):
        assert ops(found).count("Slice") + ops(found).count("Concat") <= 1
