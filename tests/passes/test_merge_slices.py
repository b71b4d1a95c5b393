import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, constant, model, ops

from edgeq.passes.merge_slices import merge_slices

A = np.array


def sliced(text, opset=17, **constants):
    return apply(merge_slices, model(text, opset, **constants))


TWO = """
g (float[n,8,9] x, int64[1] s1, int64[1] e1, int64[1] a1, int64[1] s2, int64[1] e2, int64[1] a2)
    => (float[?,?,?] y)
{
  p = Slice(x, s1, e1, a1)
  y = Slice(p, s2, e2, a2)
}
"""


@given(
    st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 2)),
    st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 2)),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_two_slices(one, two):
    parts = {
        f"{k}{i}": A([v]) for i, c in ((1, one), (2, two)) for k, v in zip("sea", c, strict=True)
    }
    found, outcome = apply(
        merge_slices,
        model(TWO, **parts),
        [{"x": np.random.default_rng(0).random((n, 8, 9), np.float32)} for n in (1, 3, 8)],
    )
    told = all(c[2] != 0 or min(c[:2]) >= 0 for c in (one, two))
    assert ops(found) == ["Slice"] * (2 - told)
    assert outcome.changes == told


def test_old_opsets_slice_by_attributes():
    text = """
g (float[n,8,9] x) => (float[?,?,?] y) {
  p = Slice<starts=[1], ends=[7], axes=[1]>(x)
  y = Slice<starts=[2], ends=[100000], axes=[2]>(p)
}
"""
    found, _ = sliced(text, 9)
    assert ops(found) == ["Slice"]
    assert list(found.graph[0].attributes["axes"].as_ints()) == [1, 2]


def test_steps_stay():
    text = """
g (float[n,8] x, int64[1] s, int64[1] e, int64[1] a, int64[1] two) => (float[?,?] y) {
  p = Slice(x, s, e, a, two)
  y = Slice(p, s, e, a)
}
"""
    _, outcome = sliced(text, s=A([1]), e=A([9]), a=A([1]), two=A([2]))
    assert outcome.changes == 0


CONCAT = """
g (float[n,3] x, float[n,2] w, float[n,4] z, int64[1] s, int64[1] e, int64[1] a) => (float[?,?] y)
{
  p = Concat<axis=1>(x, w, z)
  q = Slice(p, s, e, a)
  y = Relu(q)
}
"""


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [(0, 3, ["Relu"]), (3, 5, ["Relu"]), (6, 8, ["Slice", "Relu"]), (-4, 99, ["Relu"]),
     (2, 4, ["Slice", "Relu"])],
)  # fmt: skip
def test_slices_of_a_concatenation(start, end, left):
    found, _ = sliced(CONCAT, s=A([start]), e=A([end]), a=A([1]))
    assert [op for op in ops(found) if op != "Concat"] == left
    if (start, end) == (2, 4):
        assert found.graph[1].inputs[0].name == "p"
    if (start, end) == (6, 8):
        assert found.graph[1].inputs[0].name == "z"
        assert constant(found, found.graph[1].inputs[1].name).tolist() == [1]


def test_a_split_where_the_parts_meet():
    text = """
g (float[n,3] x, float[n,2] w, int64[2] sizes) => (float[n,3] y, float[n,2] z) {
  p = Concat<axis=1>(x, w)
  q, r = Split<axis=1>(p, sizes)
  y = Relu(q)
  z = Relu(r)
}
"""
    found, _ = sliced(text, sizes=A([3, 2]))
    assert "Split" not in ops(found)
    found, _ = sliced(
        text.replace("float[n,3] y, float[n,2] z", "float[n,2] y, float[n,3] z"), sizes=A([2, 3])
    )
    assert "Split" in ops(found)


def test_inputs_of_the_graph_are_not_its_outputs():
    text = """
g (float[n,3] x, float[n,2] w, int64[1] s, int64[1] e, int64[1] a) => (float[n,3] y) {
  p = Concat<axis=1>(x, w)
  y = Slice(p, s, e, a)
}
"""
    _, outcome = sliced(text, s=A([0]), e=A([3]), a=A([1]))
    assert outcome.changes == 0
