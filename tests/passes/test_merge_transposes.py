import numpy as np
import pytest
from pass_graphs import apply, listing, model, ops

from edgeq.passes.merge_transposes import merge_transposes


def chain(*orders, shape="2,3,4,5", tail="Relu"):
    lines, value = [], "x"
    for index, order in enumerate(orders):
        lines.append(f"t{index} = Transpose<perm={list(order)}>({value})")
        value = f"t{index}"
    body = "\n".join(lines)
    return model(f"g (float[{shape}] x) => (y) {{\n{body}\ny = {tail}({value})\n}}")


def test_two_become_one():
    found, _ = apply(merge_transposes, chain([0, 2, 3, 1], [3, 2, 1, 0]))
    assert ops(found) == ["Transpose", "Relu"]


def test_three_cancel():
    found, _ = apply(merge_transposes, chain([0, 2, 3, 1], [0, 2, 3, 1], [0, 2, 3, 1]))
    assert ops(found) == ["Identity", "Relu"]


def test_three_become_one():
    found, _ = apply(merge_transposes, chain([0, 2, 3, 1], [3, 2, 1, 0], [0, 1, 3, 2]))
    assert ops(found) == ["Transpose", "Relu"]


def test_several_readers():
    text = """
g (float[2,3,4] x) => (y, z, u) {
  a = Transpose<perm=[2,0,1]>(x)
  b = Transpose<perm=[1,2,0]>(a)
  c = Transpose<perm=[1,0,2]>(a)
  y = Relu(a)
  z = Neg(b)
  u = Neg(c)
}
"""
    found, _ = apply(merge_transposes, model(text))
    node = next(n for n in found.graph if n.outputs[0].name == "b")
    assert node.op_type == "Identity", "where one is undone it is passed by"
    assert node.inputs[0].name == "x"
    node = next(n for n in found.graph if n.outputs[0].name == "c")
    assert node.inputs[0].name == "a", "nothing is saved there"


def test_a_product_does_one_for_nothing():
    text = """
g (float[2,3,4,5] x, float[2,4,3,6] w) => (y) {
  a = Transpose<perm=[0,2,1,3]>(x)
  b = Transpose<perm=[0,1,3,2]>(a)
  y = MatMul(b, w)
}
"""
    _, outcome = apply(merge_transposes, model(text))
    assert outcome.changes == 0


@pytest.mark.parametrize(
    ("shape", "order", "target"),
    [
        ("1,3,1,5", [0, 2, 3, 1], None),
        ("1,1,4,5", [0, 2, 3, 1], [1, 4, 5, 1]),
        ("N,1,1,5", [0, 3, 1, 2], [0, 5, 1, 1]),
        ("1,N,5", [1, 0, 2], [-1, 1, 5]),
        ("N,M,1,5", [0, 2, 1, 3], [0, 1, -1, 5]),
    ],
)
def test_axes_of_size_one(shape, order, target):
    found, outcome = apply(merge_transposes, chain(order, shape=shape))
    if target is None:
        assert outcome.changes == 0
        return
    assert ops(found) == ["Reshape", "Relu"], listing(found)
    data = found.graph.node(0).inputs[1].const_value.numpy()
    assert np.array_equal(data, target)


def test_too_little_is_known():
    _, outcome = apply(merge_transposes, chain([1, 2, 0], shape="1,N,M"))
    assert outcome.changes == 0
    assert "more than one of its sizes is unknown" in outcome.declined[0]


def test_outputs_keep_their_names():
    text = "g (float[1,3] x) => (float[3,1] y) { y = Transpose<perm=[1,0]>(x) }"
    found, _ = apply(merge_transposes, model(text))
    assert ops(found) == ["Reshape"]
