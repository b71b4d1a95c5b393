import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.remove_expands import remove_expands


@pytest.mark.parametrize("op", ["Add", "Mul", "Div", "Sub", "Max"])
def test_operators_that_broadcast(op):
    text = f"""
g (float[N,1,4] x, float[N,3,4] z, int64[3] to) => (float[N,3,4] y) {{
  e = Expand(x, to)
  y = {op}(e, z)
}}
"""
    found, outcome = apply(remove_expands, model(text, to=np.array([1, 3, 1])))
    assert ops(found) == [op]
    assert outcome.changes == 1


def test_the_result_keeps_its_shape():
    text = """
g (float[N,1,4] x, float[1,4] z, int64[3] to) => (float[N,3,4] y) {
  e = Expand(x, to)
  y = Add(e, z)
}
"""
    _, outcome = apply(remove_expands, model(text, to=np.array([1, 3, 1])))
    assert outcome.changes == 0


def test_sizes_from_shapes():
    text = """
g (float[1,T] x, float[N,T] z, bool[N,T] c) => (float[N,T] y, float[N,T] e) {
  s = Shape(z)
  e = Expand(x, s)
  y = Where(c, e, z)
}
"""
    found, outcome = apply(remove_expands, model(text))
    assert outcome.changes == 1
    assert ops(found) == ["Shape", "Expand", "Where"]


@given(st.lists(st.sampled_from([1, 3]), min_size=1, max_size=3), st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_shapes(shape, data):
    target = [data.draw(st.sampled_from([3] if d == 3 else [1, 3])) for d in shape]
    other = [data.draw(st.sampled_from([1, 3])) for _ in range(data.draw(st.integers(0, 3)))]
    text = f"""
g (float{shape} x, float{other} z, int64[{len(shape)}] to)
    => (float[{",".join("?" * max(len(shape), len(other)))}] y)
{{
  e = Expand(x, to)
  y = Mul(z, e)
}}
"""
    found = model(text, to=np.array(target))
    after, outcome = apply(remove_expands, found, [{"x": numbers(*shape), "z": numbers(*other)}])
    assert len(ops(after)) == 2 - outcome.changes
