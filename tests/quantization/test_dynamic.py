"""Nodes that quantize their input while running, against their float originals."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED

from edgeq.runtime.session import Session


def lstm(directions=1, seed=0):
    direction = "bidirectional" if directions == 2 else "forward"
    text = (
        f"n (float[9,2,8] x, int32[2] n) => (float[9,{directions},2,16] z,"
        f" float[{directions},2,16] h, float[{directions},2,16] c)"
        f'{{ [l] z, h, c = LSTM<hidden_size=16, direction="{direction}">(x, w, r, b, n) }}'
    )
    return graphs.build(
        text,
        w=graphs.numbers(seed, directions, 64, 8, scale=0.4),
        r=graphs.numbers(seed + 1, directions, 64, 16, scale=0.3),
        b=graphs.numbers(seed + 2, directions, 128, scale=0.2),
    )


@pytest.mark.parametrize("directions", [1, 2])
def test_an_lstm_follows_its_float_original_through_all_steps(directions):
    model = lstm(directions)
    samples = graphs.feeds(model, 4, n=np.array([9, 5], np.int32))
    found = graphs.quantize(model, samples)
    want = Session(model).run(samples[0])
    got = Session(found.model).run(samples[0])
    for name, array in want.items():
        assert np.abs(array - got[name]).max() < 0.05
    # Behind the length of the second row everything is zero, as the operator wants.
    assert not np.any(got["z"][5:, :, 1])
    assert got.keys() == want.keys()


def test_outputs_that_an_lstm_leaves_out_stay_out():
    text = (
        "n (float[9,2,8] x) => (float[1,2,16] h){ [l] _, h = LSTM<hidden_size=16>(x, w, r) }"
    ).replace("_,", ",")
    weights = {"w": graphs.numbers(0, 1, 64, 8), "r": graphs.numbers(1, 1, 64, 16, scale=0.3)}
    assert graphs.quantize(graphs.build(text, **weights)).sqnr() > 25


def test_gate_rows_of_an_lstm_have_scales_of_their_own():
    found = graphs.quantize(lstm(2), graphs.feeds(lstm(2), 2, n=np.array([9, 5], np.int32)))
    initializers = found.model.graph.initializers
    assert list(initializers["w_scale"].shape) == [2, 64]
    assert list(initializers["w_quantized"].shape) == [2, 8, 64]
    assert "com.microsoft" in found.model.graph.opset_imports


@pytest.mark.parametrize("directions", [1, 2])
def test_gate_rows_of_unlike_ranges_cost_an_lstm_nothing(directions):
    model = lstm(directions)
    rows = np.exp(graphs.numbers(7, 1, 64, 1)) / 2
    for name in ("w", "r"):
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(value.const_value.numpy() * rows, name=name)
    found = graphs.quantize(model, graphs.feeds(model, 4, n=np.array([9, 5], np.int32)))
    for config in (OPTIMIZED, UNOPTIMIZED):
        assert found.sqnr(config) > 28


@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e3])
def test_a_product_adapts_to_the_magnitude_of_each_input(magnitude):
    """What static ranges could not: calibration never saw these magnitudes."""
    text = "n (float[5,16] x) => (float[5,8] z) { [g] z = Gemm(x, w, b) }"
    model = graphs.build(text, w=graphs.numbers(0, 16, 8), b=np.zeros(8, np.float32))
    found = graphs.quantize(model)
    samples = [{"x": sample["x"] * np.float32(magnitude)} for sample in graphs.feeds(model, 4)]
    for config in (OPTIMIZED, UNOPTIMIZED):
        assert graphs.closeness(model, found.model, samples, config) > 35


def test_a_weight_that_two_products_read_either_way_is_stored_both_ways():
    text = (
        "n (float[2,4] x) => (float[2,4] z) { [a] y = MatMul(x, w) [b] z = Gemm<transB=1>(y, w) }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 4, 4))
    found = graphs.quantize(model)
    assert {"w_quantized", "w_quantized_1"} <= set(found.model.graph.initializers)
    assert found.sqnr() > 30


def test_it_is_even_where_rows_and_columns_have_the_same_scales():
    """Every row and every column of a circulant holds the same numbers."""
    text = (
        "n (float[2,4] x) => (float[2,4] z) { [a] y = MatMul(x, w) [b] z = Gemm<transB=1>(y, w) }"
    )
    numbers = graphs.numbers(0, 4)
    model = graphs.build(text, w=np.stack([np.roll(numbers, place) for place in range(4)]))
    assert graphs.quantize(model).sqnr() > 30


def test_a_shared_weight_is_stored_once():
    text = "n (float[2,4] x) => (float[2,4] z) { [a] y = MatMul(x, w) [b] z = MatMul(y, w) }"
    found = graphs.quantize(graphs.build(text, w=graphs.numbers(0, 4, 4)))
    assert [n for n in found.model.graph.initializers if "quantized" in n] == ["w_quantized"]
