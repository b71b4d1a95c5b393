"""Unfolded inputs times weight matrices are what onnxruntime computes."""

import graphs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgeq.graph import loader
from edgeq.refinement.layer_inputs import as_matrix, from_matrix, patches_of
from edgeq.runtime.session import Session

EVERY = 10**6


def unfolded(model, data):
    """The product of the weight with all columns: [positions, groups * outputs]."""
    node = model.graph[-1]
    weight = node.inputs[1].const_value.numpy()
    columns, matrix = patches_of(node, weight).columns(data, EVERY), as_matrix(node, weight)
    np.testing.assert_array_equal(from_matrix(node, matrix, weight.shape), weight)
    return np.concatenate(matrix @ columns, axis=0).T


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))
    groups, per_group, out = (draw(st.integers(1, 3)) for _ in range(3))
    sizes = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    attributes = {"group": groups, "strides": draw(sizes), "dilations": draw(sizes)}
    kernel = draw(sizes)
    pad = draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if pad == "NOTSET":
        pads = st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank)
        attributes["pads"] = draw(pads)
    else:
        attributes["auto_pad"] = pad
    spatial = draw(st.lists(st.integers(3, 9), min_size=rank, max_size=rank))
    if pad.startswith("SAME"):
        # onnxruntime refuses SAME with dilations in places; the specification does not define it.
        attributes["dilations"] = [1] * rank
    padding = attributes.get("pads", [0] * 2 * rank)
    for axis in range(rank):
        reach = (kernel[axis] - 1) * attributes["dilations"][axis] + 1
        assume(
            pad.startswith("SAME") or spatial[axis] + padding[axis] + padding[rank + axis] >= reach
        )
    return attributes, (groups * out, per_group, *kernel), (2, groups * per_group, *spatial)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(convolutions())
def test_weights_times_patches_are_the_convolution(case):
    attributes, shape, data_shape = case
    weight, data = graphs.numbers(0, *shape), graphs.numbers(1, *data_shape)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["z"], name="c", **attributes)],
        "n",
        [helper.make_tensor_value_info("x", 1, data_shape)],
        [helper.make_tensor_value_info("z", 1, None)],
        [helper.make_tensor("w", 1, shape, weight.ravel())],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = loader.load(proto).model
    want = Session(model).run({"x": data})["z"]
    found = unfolded(model, data)
    np.testing.assert_allclose(found, np.moveaxis(want, 1, -1).reshape(found.shape), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("n (float[2,3,4] x) => (float[2,3,5] z) { [c] z = MatMul(x, w) }", (4, 5)),
        ("n (float[6,4] x) => (float[6,5] z) { [c] z = Gemm(x, w) }", (4, 5)),
        ("n (float[6,4] x) => (float[6,5] z) { [c] z = Gemm<transB=1>(x, w) }", (5, 4)),
    ],
)
def test_weights_times_columns_are_the_product(text, weight):
    model = graphs.build(text, w=graphs.numbers(0, *weight))
    data = graphs.feeds(model, 1)[0]["x"]
    want = Session(model).run({"x": data})["z"]
    np.testing.assert_allclose(unfolded(model, data), want.reshape(-1, 5), atol=1e-5)


def test_few_positions_are_spread_over_all_and_the_same_every_time():
    text = "n (float[2,3,16,16] x) => (float[2,3,16,16] z) { [c] z = Conv(x, w) }"
    model = graphs.build(text, w=graphs.numbers(0, 3, 3, 1, 1))
    node = model.graph[0]
    patches = patches_of(node, node.inputs[1].const_value.numpy())
    places = np.broadcast_to(np.arange(512.0).reshape(2, 1, 16, 16), (2, 3, 16, 16))
    taken = patches.columns(places, 64)[0, 0]
    assert len(set(taken)) == 64
    assert set(taken // 128) == {0, 1, 2, 3}
    assert len(set(taken % 16)) > 12
    np.testing.assert_array_equal(taken, patches.columns(places, 64)[0, 0])
    assert set(taken) != set(patches.columns(places, 64, seed=1)[0, 0])


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("n (float[3,2,4] x) => (float[3,2,5] z) { [c] z = MatMul(x, w) }", (3, 4, 5)),
        ("n (float[4,6] x) => (float[6,5] z) { [c] z = Gemm<transA=1>(x, w) }", (4, 5)),
        (
            "n (float[1,3,4,4] x) => (float[1,2,4,4] z) { [c] z = ConvTranspose(x, w) }",
            (3, 2, 1, 1),
        ),
    ],
)
def test_other_layers_are_no_such_products(text, weight):
    model = graphs.build(text, w=graphs.numbers(0, *weight))
    assert patches_of(model.graph[0], graphs.numbers(0, *weight)) is None
