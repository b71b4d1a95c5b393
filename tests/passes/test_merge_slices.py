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


STEPS = """
g (float[n,11,9] x, int64[1] s1, int64[1] e1, int64[1] a1, int64[1] t1,
   int64[1] s2, int64[1] e2, int64[1] a2, int64[1] t2) => (float[?,?,?] y)
{
  p = Slice(x, s1, e1, a1, t1)
  y = Slice(p, s2, e2, a2, t2)
}
"""


@given(
    st.tuples(st.integers(-9, 9), st.integers(-9, 12), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.integers(-9, 9), st.integers(-9, 12), st.integers(0, 2), st.integers(1, 3)),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_two_slices_with_steps(one, two):
    parts = {
        f"{k}{i}": A([v]) for i, c in ((1, one), (2, two)) for k, v in zip("seat", c, strict=True)
    }
    found, outcome = apply(
        merge_slices,
        model(STEPS, **parts),
        [{"x": np.random.default_rng(0).random((n, 11, 9), np.float32)} for n in (1, 3, 8)],
    )
    told = all(c[2] != 0 or min(c[:2]) >= 0 for c in (one, two))
    assert ops(found) == ["Slice"] * (2 - told)
    assert outcome.changes == told


def test_backward_steps_stay():
    text = """
g (float[n,8] x, int64[1] s, int64[1] e, int64[1] a, int64[1] back) => (float[?,?] y) {
  p = Slice(x, s, e, a, back)
  y = Slice(p, e, s, a)
}
"""
    _, outcome = sliced(text, s=A([9]), e=A([1]), a=A([1]), back=A([-2]))
    assert outcome.changes == 0


FOCUS = """
g (float[n,3,{size}] x, int64[1] zero, int64[1] one, int64[1] end, int64[1] two, int64[1] three)
    => (float[n,12,?,?] y)
{{
  p = Slice(x, zero, end, two, two)
  q = Slice(x, one, end, two, two)
  p0 = Slice(p, zero, end, three, two)
  p1 = Slice(p, one, end, three, two)
  q0 = Slice(q, zero, end, three, two)
  q1 = Slice(q, one, end, three, two)
  y = Concat<axis=1>(p0, q0, p1, q1)
  {other}
}}
"""


@pytest.mark.parametrize("size", ["8,6", "h,w"])
@pytest.mark.parametrize("other", ["", "z = Relu(p)"])
def test_focus(size, other):
    """As of YOLOX: every second pixel of every second row, four times."""
    text = FOCUS.format(size=size, other=other)
    text = text.replace("=> (", "=> (float[n,3,?,?] z, ") if other else text
    data = {"zero": A([0]), "one": A([1]), "end": A([2**63 - 1]), "two": A([2]), "three": A([3])}
    found, outcome = apply(
        merge_slices,
        model(text, **data),
        [{"x": np.random.default_rng(0).random((2, 3, 8, 6), np.float32)}],
    )
    # Where one of the first cuts is there anyway, nothing is gained by cutting twice.
    assert outcome.changes == (2 if other else 4)
    assert ops(found).count("Slice") == (5 if other else 4)


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


@pytest.mark.parametrize("part", ["a", "b", "c"])
@pytest.mark.parametrize("opset", [9, 13, 18])
def test_the_only_part_of_a_split_that_is_read(part, opset):
    split = "Split<axis=1, split=[1,2,3]>(x)" if opset < 13 else "Split<axis=1>(x, sizes)"
    size = {"a": 1, "b": 2, "c": 3}[part]
    text = f"""
g (float[N,6] x, int64[3] sizes) => (float[N,{size}] y) {{
  a, b, c = {split}
  y = Relu({part})
}}
"""
    found, _ = apply(merge_slices, model(text, opset, sizes=np.array([1, 2, 3])))
    assert ops(found) == ["Slice", "Relu"]


def test_a_split_of_which_two_parts_are_read_stays():
    text = """
g (float[N,6] x, int64[3] sizes) => (float[N,1] y, float[N,3] c) {
  a, b, c = Split<axis=1>(x, sizes)
  y = Relu(a)
}
"""
    found = model(text, sizes=np.array([1, 2, 3]))
    assert apply(merge_slices, found)[1].changes == 0
