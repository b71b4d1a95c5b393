import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, constant, listing, model, numbers, ops

from edgeq.passes.fold_shapes import fold_shapes
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.outcome import Outcome
from edgeq.passes.remove_dead import remove_dead
from edgeq.passes.symbolic import Symbols


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
    assert constant(found, "reshape_3__target").tolist() == [0, 192]


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


def ends(found, index=1, at=0):
    """The constant that input ``index`` of the last such node is, as a list."""
    node = [n for n in found.graph if len(n.inputs) > index][-1 - at]
    return node.inputs[index].const_value.numpy().tolist()


ATTENTION = """
g (float[batch,seq,768] x, int64 zero, int64 one, int64[1] axis, int64[1] heads, int64[1] size,
   int64[1] all)
    => (float[?,?,?,?] y, float[?,?] z)
{
  s = Shape(x)
  b = Gather(s, zero)
  t = Gather(s, one)
  b1 = Unsqueeze(b, axis)
  t1 = Unsqueeze(t, axis)
  into = Concat<axis=0>(b1, t1, heads, size)
  y = Reshape(x, into)
  p = Mul(b, t)
  p1 = Unsqueeze(p, axis)
  flat = Concat<axis=0>(p1, all)
  z = Reshape(x, flat)
}
"""
PARTS = {
    "zero": np.array(0), "one": np.array(1), "axis": np.array([0]), "heads": np.array([12]),
    "size": np.array([64]), "all": np.array([768]),
}  # fmt: skip


def test_two_symbolic_dimensions_are_copied_and_a_product_is_computed():
    found, _ = folded(model(ATTENTION, **PARTS))
    assert ops(found) == ["Reshape", "Reshape"]
    assert ends(found, at=1) == [0, 0, 12, 64]
    assert ends(found) == [-1, 768]


def test_sizes_are_followed_through_layers():
    text = """
g (float[batch,seq,6] x, float[6,6] w, int64[1] a, int64[1] b, int64[2] rest)
    => (float[?,?,2,3] y)
{
  h = MatMul(x, w)
  h2 = Relu(h)
  turned = Transpose<perm=[1,0,2]>(h2)
  s = Shape(turned)
  n = Gather(s, a)
  t = Gather(s, b)
  target = Concat<axis=0>(t, n, rest)
  y = Reshape(h2, target)
}
"""
    data = {"a": np.array([1]), "b": np.array([0]), "rest": np.array([2, 3]), "w": numbers(6, 6)}
    found, _ = folded(model(text, **data))
    # [seq, batch] is not what the data has in front.
    assert "Shape" in ops(found)
    data |= {"a": np.array([0]), "b": np.array([1])}
    found, _ = folded(model(text, **data))
    assert ends(found) == [0, 0, 2, 3]


def test_names_that_tell_nothing_are_not_trusted():
    text = """
g (float[?,?,4] x, int64[1] zero, int64[1] one, int64[1] rest) => (float[?,?,4] y) {
  s = Shape(x)
  n = Gather(s, one)
  t = Gather(s, zero)
  target = Concat<axis=0>(n, t, rest)
  y = Reshape(x, target)
}
"""
    data = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([4])}
    for name in ("None", "N"):
        found = model(text, **data)
        found.graph.inputs[0].shape = ir.Shape([name, name, 4])
        found, _ = folded(found)
        assert "Shape" in ops(found)


def test_expanding_to_what_a_value_is():
    text = """
g (float[batch,1,seq] x, float[1,4,1] y, int64[1] zero, int64[1] two, int64[1] four)
    => (float[?,4,?] z)
{
  s = Shape(x)
  n = Gather(s, zero)
  t = Gather(s, two)
  target = Concat<axis=0>(n, four, t)
  e = Expand(x, target)
  z = Add(e, y)
}
"""
    data = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    found, _ = folded(model(text, **data))
    assert ops(found) == ["Expand", "Add"]
    assert found.graph[0].inputs[1].const_value.numpy().tolist() == [1, 4, 1]


def test_the_expansion_that_torch_writes():
    text = """
g (float[batch,seq,1] x, int64[3] target, int64[1] zero, int64[2] rest, int64[3] minus)
    => (float[?,?,8] y)
{
  s = Shape(x)
  n = Gather(s, zero)
  wanted = Concat<axis=0>(n, rest)
  kept = Equal(wanted, minus)
  one = Shape(wanted)
  ones = ConstantOfShape<value=int64[1]{1}>(one)
  shape = Where(kept, ones, wanted)
  y = Expand(x, shape)
}
"""
    data = {
        "target": np.array([1, 1, 1]), "zero": np.array([0]), "rest": np.array([-1, 8]),
        "minus": np.array([-1, -1, -1]),
    }  # fmt: skip
    found, _ = folded(model(text, **data))
    assert ops(found) == ["Expand"]
    assert ends(found) == [1, 1, 8]


SLICE = """
g (float[batch,seq,4] x, int64[1] one, int64[1] start, int64[1] less) => (float[?,?,4] y) {
  s = Shape(x)
  t = Gather(s, one)
  end = Sub(t, less)
  y = Slice(x, start, end, one)
}
"""


@pytest.mark.parametrize(
    ("less", "end"), [(0, 2**31 - 1), (-3, 2**31 - 1), (1, -1), (2, -2), (3, None)]
)
def test_slices_that_end_where_the_data_does(less, end):
    data = {"one": np.array([1]), "start": np.array([0]), "less": np.array([less])}
    found, _ = folded(model(SLICE, **data))
    last = found.graph[-1].inputs[2].const_value
    assert (None if last is None else last.numpy().tolist()) == (None if end is None else [end])


@pytest.mark.parametrize("scales", ["", "none"])
@pytest.mark.parametrize(("by", "factor"), [(2, 2.0), (3, 3.0)])
def test_resizing_by_whole_factors(by, factor, scales):
    text = """
g (float[batch,3,height,width] x, int64[1] zero, int64[1] two, int64[1] end, int64[2] by,
   float[0] none) => (float[?,3,?,?] y)
{
  s = Shape(x)
  front = Slice(s, zero, two)
  back = Slice(s, two, end)
  more = Mul(back, by)
  sizes = Concat<axis=0>(front, more)
  y = Resize<mode="linear">(x, , , sizes)
}
"""
    data = {
        "zero": np.array([0]), "two": np.array([2]), "end": np.array([4]),
        "by": np.array([by, by]), "none": np.zeros(0, np.float32),
    }  # fmt: skip
    found, _ = folded(model(text.replace("(x, , ,", f"(x, , {scales},"), **data))
    assert ops(found) == ["Resize"]
    assert ends(found, 2) == [1.0, 1.0, factor, factor]


def test_resizing_to_what_another_value_is_stays():
    text = """
g (float[1,3,h,w] x, float[1,3,a,b] z) => (float[1,3,?,?] y) {
  s = Shape(z)
  y = Resize<mode="nearest">(x, , , s)
}
"""
    found, _ = folded(model(text))
    assert ops(found) == ["Shape", "Resize"]


def test_conditions_on_the_rank_of_a_batch():
    text = """
g (float[batch,4] x, int64 two, int64 zero) => (bool y, bool z) {
  s = Shape(x)
  r = Size(s)
  y = Equal(r, two)
  n = Gather(s, zero)
  z = Less(n, zero)
}
"""
    found, _ = folded(model(text, two=np.array(2), zero=np.array(0)))
    assert constant(found, "y__constant").tolist() is True
    assert constant(found, "z__constant").tolist() is False


@given(
    st.lists(st.sampled_from(["batch", "seq", 3, 4]), min_size=2, max_size=4),
    st.data(),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_grouping_of_the_dimensions(shape, data):
    """A Reshape to products of neighbouring dimensions, written with Shape, stays what it is."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(shape) - 1))))
    groups = np.split(np.arange(len(shape)), cuts)
    lines, parts = ["s = Shape(x)"], []
    for number, group in enumerate(groups):
        name = f"d{group[0]}"
        for axis in group:
            lines.append(f"d{axis} = Gather(s, i{axis})")
        for axis in group[1:]:
            lines.append(f"m{number}_{axis} = Mul({name}, d{axis})")
            name = f"m{number}_{axis}"
        parts.append(name)
    names = [
        d if d not in shape[:i] or isinstance(d, int) else f"other{i}" for i, d in enumerate(shape)
    ]
    inputs = ", ".join(f"int64[1] i{axis}" for axis in range(len(shape)))
    lines += [f"t = Concat<axis=0>({', '.join(parts)})", "y = Reshape(x, t)"]
    unknown = ",".join("?" * len(parts))
    head = f"g (float[{','.join(map(str, names))}] x, {inputs}) => (float[{unknown}] y)"
    body = "\n".join(lines)
    indices = {f"i{axis}": np.array([axis]) for axis in range(len(shape))}
    found, _ = folded(model(f"{head} {{ {body} }}", **indices))
    assert ops(found)[-1] == "Reshape"


def test_sizes_behind_padding_that_is_computed():
    text = """
g (float[N,3,8,9] x, int64[1] eight, int64[6] none) => (float[?,?,?,?] y) {
  height = Shape<start=2, end=3>(x)
  more = Div(height, eight)
  pads = Concat<axis=0>(none, more, more)
  y = Pad(x, pads)
}
"""
    found = model(text, eight=np.array([8]), none=np.zeros(6, np.int64))
    assert Symbols(found).shape(found.graph.outputs[0])[1:] == (3, 9, 10)
    text = text.replace("Pad(x, pads)", "Pad(x, more2, , axes)").replace(
        "int64[6] none", "int64[2] axes"
    )
    text = text.replace(
        "pads = Concat<axis=0>(none, more, more)", "more2 = Concat<axis=0>(more, more, eight, more)"
    )
    found = model(text, opset=18, eight=np.array([8]), axes=np.array([-1, 1]))
    assert Symbols(found).shape(found.graph.outputs[0])[1:] == (3 + 2, 8, 9 + 9)
