"""Where the arithmetic goes, by what onnxruntime runs."""

import graphs
import models
import numpy as np
import pytest

from edgeq.graph import loader
from edgeq.quantization.plan import QuantPlan
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph
from edgeq.validation.coverage import count_macs, measure

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = {"w": graphs.numbers(1, 3, 3, 1, 1), "v": graphs.numbers(2, 3, 3, 3, 3)}
CHAIN = f"{IO} {{ [c] y = Conv(x, w) [d] z = Conv<pads=[1,1,1,1]>(y, v) }}"


def covered(model, samples=None, recipe=None):
    found = graphs.quantize(model, samples, recipe)
    counted = count_macs(model, found.samples[0])
    return measure(counted, found.plan, executed_graph(found.model), found.model)


def test_all_of_a_chain_of_convolutions_is_in_integers():
    found = covered(graphs.build(CHAIN, **W))
    assert (found.int8, found.float_, found.ratio) == (16 * 9 + 16 * 81, 0, 1.0)
    assert found.float_nodes == ()
    assert (found.leftover_qdq, found.boundary_crossings) == (2, 2)


def test_float_nodes_come_heaviest_first_with_their_reasons():
    found = covered(graphs.build(CHAIN, **W), recipe=Recipe(exclude=("Conv",)))
    assert [(node.name, node.macs) for node in found.float_nodes] == [("d", 1296), ("c", 144)]
    assert {node.reason for node in found.float_nodes} == {"excluded by the recipe"}
    assert found.ratio == 0.0


def test_the_ratio_weighs_nodes_by_their_arithmetic():
    found = covered(graphs.build(CHAIN, **W), recipe=Recipe(exclude=("c",)))
    assert found.ratio == pytest.approx(1296 / 1440)
    assert found.total == 1440


def test_dynamic_products_count_as_integers():
    found = covered(loader.load(models.mlp()).model, models.rows(4))
    assert found.ratio == 1.0
    assert found.int8 == 16 * 32 + 32 * 4


def test_dynamic_products_with_a_bias_count_as_integers():
    text = "n (float[5,6] x) => (float[5,4] z) { [g] z = Gemm<transB=1>(x, w, b) }"
    found = covered(graphs.build(text, w=graphs.numbers(0, 4, 6), b=graphs.numbers(1, 4)))
    assert (found.int8, found.float_nodes) == (5 * 6 * 4, ())


def test_an_lstm_counts_every_gate_and_step():
    text = "n (float[7,2,5] x) => (float[7,1,2,6] z) { [l] z = LSTM<hidden_size=6>(x, w, r) }"
    model = graphs.build(text, w=graphs.numbers(0, 1, 24, 5), r=graphs.numbers(1, 1, 24, 6))
    assert covered(model).int8 == 7 * 2 * (24 * 5 + 24 * 6)


def test_a_branch_that_the_sample_does_not_take_counts_nothing():
    model = loader.load(models.branches()).model
    counted = count_macs(model, {**models.rows(1)[0], "wide": np.array(True)})
    assert counted == {"wide_product": 64, "plain_product": 0}


def test_layers_in_branches_are_found_in_what_runs():
    text = """n (float[1,3,4,4] x, bool c) => (float[1,3,4,4] z) { [stem] y = Conv(x, w)
      [i] z = If(c) <
        then_branch = a () => (float[1,3,4,4] t) { [one] t = Conv(y, w) },
        else_branch = b () => (float[1,3,4,4] e) { [two] e = Conv(y, w) }> }"""
    model = graphs.build(text, w=W["w"])
    samples = graphs.feeds(model, 2, c=True) + graphs.feeds(model, 2, c=False)
    assert covered(model, samples).float_nodes == ()


def test_compute_inside_a_loop_has_no_count_and_is_float():
    text = """n (float[2,2] x, int64 times, bool go) => (float[2,2] z) { [p] y = MatMul(x, w)
      [l] z = Loop(times, go, y) <body = b (int64 i, bool on, float[2,2] state)
        => (bool more, float[2,2] next) { more = Identity(on) [m] next = MatMul(state, w) }> }"""
    model = graphs.build(text, w=graphs.numbers(0, 2, 2))
    samples = graphs.feeds(model, 2, times=np.int64(2), go=np.array(True))
    (node,) = covered(model, samples).float_nodes
    assert (node.name, node.macs) == ("m", None)
    assert "Loop" in node.reason


def test_a_kernel_that_runs_in_float_against_the_plan_is_told():
    model = graphs.build(CHAIN, **W)
    found = graphs.quantize(model)
    counted = count_macs(model, found.samples[0])
    float_graph = executed_graph(model)
    told = measure(counted, found.plan, float_graph, model).float_nodes
    assert all(node.reason.startswith("quantized, but onnxruntime ") for node in told)
    assert len(told) == 2


def test_without_a_plan_the_kernels_speak_for_themselves():
    model = graphs.build(CHAIN, **W)
    counted = count_macs(model, graphs.feeds(model, 1)[0])
    found = measure(counted, QuantPlan(), executed_graph(model), model)
    assert (found.ratio, len(found.float_nodes)) == (0.0, 2)


def test_a_model_without_arithmetic_is_covered():
    model = graphs.build("n (float[2] x) => (float[2] z) { z = Sin(x) }")
    found = measure({}, QuantPlan(), executed_graph(model), model)
    assert (found.total, found.ratio) == (0, 1.0)
