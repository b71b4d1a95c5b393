"""Weights as bfloat16: half the bytes, the interface and the arithmetic as they were."""

from collections import Counter

import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.graph import check, saver
from edgeq.graph.interface import Interface
from edgeq.graph.walk import nodes
from edgeq.passes.lift_half import lift_half
from edgeq.quantization.narrow_weights import store_as_bfloat16, store_as_given
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.session import Session

NET = (
    "n (float[4,64] x, int64[4] ids) => (float[4,64] y) {"
    " [m] h = MatMul(x, w) [g] e = Gather(table, ids) [a] s = Add(h, e) [b] y = Add(s, bias) }"
)


def net():
    weights = {"w": graphs.numbers(0, 64, 64), "table": graphs.numbers(1, 30, 64)}
    return graphs.build(NET, **weights, bias=graphs.numbers(2, 64))


def stored(model, recipe=None):
    copy = model.clone()
    decisions = store_as_bfloat16(copy, recipe or Recipe())
    check.check(copy)
    assert Interface.of(copy) == Interface.of(model)
    return copy, {d.node: d for d in decisions}


def test_large_constants_are_stored_narrow_and_small_ones_are_not():
    model = net()
    copy, decisions = stored(model)
    kinds = Counter(v.const_value.dtype for v in copy.graph.initializers.values())
    assert kinds == {ir.DataType.BFLOAT16: 2, ir.DataType.FLOAT: 1}
    assert {name: d.form for name, d in decisions.items()} == {
        "m": NodeForm.STORED, "g": NodeForm.STORED
    }  # fmt: skip
    assert saver.serialized_size(copy) < 0.56 * saver.serialized_size(model)
    sample = {"x": graphs.numbers(3, 4, 64), "ids": np.arange(4)}
    want, got = Session(model).run(sample)["y"], Session(copy).run(sample)["y"]
    assert 0 < np.abs(want - got).max() < 0.01 * np.abs(want).max()


def test_the_nearest_bfloat16_is_taken():
    model = graphs.build(
        "n (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }",
        w=(np.eye(64) * 1.00390625).astype(np.float32) + np.float32(0),
    )
    copy, _ = stored(model)
    sample = {"x": np.ones((1, 64), np.float32)}
    # Half way between 1 and the next bfloat16: to even.
    np.testing.assert_array_equal(Session(copy).run(sample)["y"], sample["x"])


def test_what_the_user_excludes_keeps_its_weights():
    copy, decisions = stored(net(), Recipe(exclude=("m",)))
    assert decisions["m"].reason == "excluded by the user"
    assert decisions["g"].form is NodeForm.STORED
    assert [n.op_type for n in nodes(copy)].count("Cast") == 1


def test_a_weight_inside_a_branch():
    text = (
        "n (bool c, float[2,64] x) => (float[2,64] y) { y = If (c) <"
        "then_branch = t () => (float[2,64] a) { [inside] a = MatMul(x, w) },"
        "else_branch = e () => (float[2,64] b) { b = Neg(x) }> }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    copy, decisions = stored(model)
    assert decisions["inside"].form is NodeForm.STORED
    sample = {"c": np.asarray(True), "x": graphs.numbers(3, 2, 64)}
    want, got = Session(model).run(sample)["y"], Session(copy).run(sample)["y"]
    assert np.abs(want - got).max() < 0.01 * np.abs(want).max()


@pytest.mark.parametrize("data", [None, "some"])
def test_from_a_model_to_half_its_bytes(data):
    model = graphs.proto(
        "n (float[4,64] x) => (float[4,64] y) { y = MatMul(x, w) }", w=graphs.numbers(0, 64, 64)
    )
    samples = None if data is None else [{"x": graphs.numbers(i, 4, 64)} for i in range(3)]
    result = edgeq.quantize(model, samples, scheme="bf16", threads=1)
    assert result.passed
    assert result.report.to_dict()["size"]["ratio"] < 0.55


HALVES = (
    "n (float16[4,64] x) => (float16[4,8] y) {"
    " [m] h = MatMul(x, w) [r] a = Relu(h) [v] b = MatMul(a, v) y = Identity(b) }"
)


def halves():
    weights = {"w": graphs.numbers(0, 64, 64), "v": graphs.numbers(1, 64, 8)}
    return graphs.build(HALVES, **{name: each.astype(np.float16) for name, each in weights.items()})


def test_what_came_as_float16_and_did_not_change_is_stored_as_float16_again():
    original = halves()
    model = original.clone()
    lift_half(model)
    changed = model.graph.initializers["v"]
    changed.const_value = ir.tensor(changed.const_value.numpy() * np.float32(1.0001), name="v")
    before = Session(model).run({"x": np.ones((4, 64), np.float16)})["y"]
    store_as_given(model, original)
    check.check(model)
    kinds = Counter(v.const_value.dtype for v in model.graph.initializers.values())
    assert kinds == {ir.DataType.FLOAT16: 1, ir.DataType.FLOAT: 1}
    assert np.array_equal(before, Session(model).run({"x": np.ones((4, 64), np.float16)})["y"])
    store_as_given(model, original)
    assert Counter(n.op_type for n in nodes(model))["Cast"] == 3


def test_float32_stays_where_nothing_came_as_half_precision():
    model = graphs.build(NET, w=np.ones((64, 64), np.float32), table=np.ones((30, 64), np.float32),
                         bias=np.ones(64, np.float32))  # fmt: skip
    copy = model.clone()
    store_as_given(copy, model)
    assert [n.op_type for n in nodes(copy)] == [n.op_type for n in nodes(model)]


def test_layers_of_a_model_of_float16_that_stay_float_do_not_grow():
    """Convolutions have no kernel for weights in blocks."""
    text = (
        "n (float16[1,64,64] x) => (float16[1,64,64] y) {"
        " [c] h = Conv<pads=[1,1]>(x, k) [m] b = MatMul(h, v) y = Identity(b) }"
    )
    kernel, weights = graphs.numbers(0, 64, 64, 3), graphs.numbers(1, 64, 64)
    original = graphs.build(text, k=kernel.astype(np.float16), v=weights.astype(np.float16))
    result = edgeq.quantize(original, scheme="w8")
    assert result.report.candidate_bytes < result.report.fp32_bytes
    kinds = Counter(v.const_value.dtype for v in result.model.graph.initializers.values())
    assert kinds[ir.DataType.FLOAT16] == 1


def test_a_model_of_float16_does_not_grow_where_it_is_optimized_for_float32_kernels():
    optimized = edgeq.optimize(halves(), target="cpu").model
    kinds = Counter(v.const_value.dtype for v in optimized.graph.initializers.values())
    assert kinds == {ir.DataType.FLOAT16: 2}
    products = [node for node in nodes(optimized) if node.op_type == "MatMul"]
    assert {node.inputs[0].dtype for node in products} == {ir.DataType.FLOAT}
