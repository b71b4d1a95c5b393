import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, ops

from edgeq.passes.merge_reshapes import merge_reshapes

A = np.array


def merged(text, opset=17, **constants):
    return apply(merge_reshapes, model(text, opset, **constants))


def last(found):
    return [v.const_value.numpy().tolist() for v in found.graph[-1].inputs[1:]]


def test_two_reshapes_are_one():
    text = """
g (float[N,3,8,8] x, int64[3] one, int64[2] two) => (float[?,24] y) {
  a = Reshape(x, one)
  y = Reshape(a, two)
}
"""
    found, outcome = merged(text, one=A([0, 3, 64]), two=A([-1, 24]))
    assert ops(found) == ["Reshape"]
    assert last(found) == [[-1, 24]]
    assert outcome.changes == 1


def test_a_chain_that_ends_where_it_began():
    text = """
g (float[batch,seq,8] x, int64[3] one, int64[3] two, float[8] w) => (float[batch,seq,8] y) {
  a = Reshape(x, one)
  b = Reshape(a, two)
  y = Mul(b, w)
}
"""
    found, _ = merged(text, one=A([0, 0, 8]), two=A([0, -1, 8]), w=np.ones(8, np.float32))
    assert ops(found) == ["Mul"]


@pytest.mark.parametrize("opset", [11, 17])
def test_squeezing_what_was_inserted(opset):
    if opset < 13:
        text = """
g (float[a,b] x) => (float[a,1,1,b] y, float[a,b] z) {
  p = Unsqueeze<axes=[1]>(x)
  y = Unsqueeze<axes=[2]>(p)
  q = Unsqueeze<axes=[0,2]>(x)
  r = Squeeze<axes=[0,2]>(q)
  z = Relu(r)
}
"""
        found, _ = merged(text, opset)
        assert list(found.graph[0].attributes["axes"].as_ints()) == [1, 2]
    else:
        text = """
g (float[a,b] x, int64[1] one, int64[1] two, int64[2] both) => (float[a,1,1,b] y, float[a,b] z) {
  p = Unsqueeze(x, one)
  y = Unsqueeze(p, two)
  q = Unsqueeze(x, both)
  r = Squeeze(q, both)
  z = Relu(r)
}
"""
        found, _ = merged(text, opset, one=A([1]), two=A([2]), both=A([0, 2]))
        assert found.graph[0].inputs[1].const_value.numpy().tolist() == [1, 2]
    assert ops(found) == ["Unsqueeze", "Relu"]


def test_dimensions_of_one_become_an_unsqueeze():
    text = """
g (float[batch,seq] x, int64[3] one, int64[4] two) => (float[batch,1,1,seq] y) {
  a = Reshape(x, one)
  y = Reshape(a, two)
}
"""
    found, _ = merged(text, one=A([0, 1, -1]), two=A([0, 0, 1, -1]))
    assert ops(found) == ["Unsqueeze"]
    assert last(found) == [[1, 2]]


def test_a_value_that_others_read_stays():
    text = """
g (float[2,12] x, int64[2] one, int64[2] two) => (float[4,6] y, float[3,8] z) {
  a = Reshape(x, one)
  b = Relu(a)
  y = Abs(b)
  z = Reshape(a, two)
}
"""
    found, outcome = merged(text, one=A([4, 6]), two=A([3, 8]))
    assert ops(found) == ["Reshape", "Relu", "Abs", "Reshape"]
    assert outcome.changes == 0


def test_two_open_dimensions_are_a_reason():
    text = """
g (float[a,b] x, int64[3] one, int64[4] two) => (float[1,2,?,?] y) {
  p = Reshape(x, one)
  y = Reshape(p, two)
}
"""
    # [a, b] -> [1, b, a] -> [1, 2, a, b / 2]
    found, outcome = apply(
        merge_reshapes,
        model(text, one=A([1, 0, -1]), two=A([1, 2, 0, -1])),
        samples=[{"x": np.ones((3, 4), np.float32)}],
    )
    assert ops(found) == ["Reshape", "Reshape"]
    assert "more than one of its dimensions" in outcome.declined[0]


def test_graph_outputs_keep_their_names():
    text = """
g (float[2,12] x, int64[2] one, int64[2] two) => (float[4,6] p, float[2,12] y) {
  p = Reshape(x, one)
  y = Reshape(p, two)
}
"""
    found, _ = merged(text, one=A([4, 6]), two=A([2, 12]))
    assert [v.name for v in found.graph.outputs] == ["p", "y"]


def test_bodies_read_views_of_outer_values():
    text = """
g (float[2,12] x, bool c, int64[2] one, int64[2] two) => (float[3,8] y) {
  p = Reshape(x, one)
  y = If (c) <
    then_branch = t () => (float[3,8] a) { a = Reshape(p, two) },
    else_branch = e () => (float[3,8] b) { q = Relu(p) b = Reshape(q, two) }
  >
}
"""
    found, outcome = merged(text, one=A([4, 6]), two=A([3, 8]))
    assert outcome.changes == 0
    assert "Reshape" in ops(found)


@given(st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_chain(data):
    """Random chains of views over a shape with two symbols compute the same as one."""
    begin = data.draw(st.permutations(["n", "t", 1, 6]))
    shape = list(begin)
    lines, constants, name, inputs = [], {}, "x", []
    for step in range(data.draw(st.integers(2, 4))):
        kind = data.draw(st.sampled_from(["Reshape", "Unsqueeze", "Squeeze"]))
        ones = [i for i, d in enumerate(shape) if d == 1]
        if kind == "Unsqueeze":
            axis = data.draw(st.integers(0, len(shape)))
            number, shape = [axis], [*shape[:axis], 1, *shape[axis:]]
        elif kind == "Squeeze" and ones:
            axis = data.draw(st.sampled_from(ones))
            number, shape = [axis], [*shape[:axis], *shape[axis + 1 :]]
        else:
            kind, at = "Reshape", data.draw(st.integers(0, len(shape)))
            number = [0] * at + [1] + [-1]
            shape = [*shape[:at], 1, "rest"]
        lines.append(f"v{step} = {kind}({name}, c{step})")
        constants[f"c{step}"] = A(number)
        inputs.append(f"int64[{len(number)}] c{step}")
        name = f"v{step}"
        if kind == "Reshape":
            break
    lines.append(f"y = Relu({name})")
    declared = "[" + ",".join("?" * len(shape)) + "]"
    first = "[" + ",".join(map(str, begin)) + "]"
    body = "\n".join(lines)
    found, _ = merged(
        f"g (float{first} x, {', '.join(inputs)}) => (float{declared} y) {{ {body} }}", **constants
    )
    assert len(ops(found)) <= len(lines)
