"""Channels of zeros: the same integers, read by words."""

from dataclasses import replace

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED, UNPADDED, closeness
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import ModelError, RecipeError
from edgeq.graph import check
from edgeq.quantization.eligibility import require_rules
from edgeq.quantization.padding import (
    pad_input,
    with_channels,
    without_channels,
    without_padding,
)
from edgeq.quantization.pairs import LIMIT, PairForm, rows_in_order, worst_sum
from edgeq.quantization.resolve import resolve
from edgeq.quantization.stored import IntegerConstants
from edgeq.runtime.session import Session
from edgeq.targets.cpu import CPU, X86_AVX2
from edgeq.validation.diagnosis import diagnose


def image(channels=3, outputs=16, attributes="<pads=[1,1,1,1]>", weights=None, groups=1):
    if weights is None:
        weights = graphs.numbers(3, outputs, channels // groups, 3, 3)
    head = f"n (float[1,{channels},9,9] x) => (float[1,{outputs},9,9] z)"
    text = f"{head} {{ [c] z = Conv{attributes}(x, w) }}"
    return graphs.build(text, w=weights)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 5))
def test_padded_or_not_the_integers_are_the_same(channels, seed):
    model = image(channels)
    samples = graphs.feeds(model, seed=seed) if seed else graphs.feeds(model)
    padded = graphs.quantize(model, samples)
    plain = graphs.quantize(model, samples, target=UNPADDED)
    assert ("Pad" in padded.executed()[0]) is bool(channels % 4)
    for config in (OPTIMIZED, UNOPTIMIZED):
        left, right = (Session(q.model, config).run(samples[0]) for q in (padded, plain))
        for name, found in left.items():
            np.testing.assert_array_equal(found, right[name])


def test_what_others_read_too_is_padded_for_the_convolution_alone():
    head = "n (float[1,3,4,4] x) => (float[1,16,2,2] z, float[1,3,2,2] m)"
    body = "[c] z = Conv(x, w) [d] m = Conv<group=3>(x, k)"
    numbers = {"w": graphs.numbers(3, 16, 3, 3, 3), "k": graphs.numbers(4, 3, 1, 3, 3)}
    found = graphs.quantize(graphs.build(f"{head} {{ {body} }}", **numbers))
    lines = graphs.show(found.model).splitlines()
    assert any("Pad(x_quantized, x_quantized_pads, x_zero_point)" in line for line in lines)
    assert any("Conv(x_quantized_padded_dequantized, w" in line for line in lines)
    assert any("Conv(x_dequantized, k" in line for line in lines)
    assert found.sqnr() > 30


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (6, 6), (8, 1)])
def test_groups_and_whole_words_stay(channels, groups):
    attributes = f"<group={groups}, pads=[1,1,1,1]>"
    found = graphs.quantize(image(channels, 24, attributes, groups=groups))
    assert "Pad" not in found.executed()[0]
    assert not any(d.padded for d in found.plan.decisions)


@pytest.mark.parametrize(("outputs", "taps"), [(1, (3, 3)), (8, (3, 3)), (16, (11, 11))])
def test_where_products_with_zeros_cost_more_than_words_gain_nothing_is_padded(outputs, taps):
    weights = graphs.numbers(3, outputs, 3, *taps)
    pads = [size // 2 for size in taps] * 2
    found = graphs.quantize(image(3, outputs, f"<pads={pads}>", weights))
    assert not any(d.padded for d in found.plan.decisions)


def test_layers_that_read_the_same_share_what_is_padded():
    head = "n (float[1,3,9,9] x) => (float[1,16,9,9] y, float[1,16,9,9] z)"
    body = "[c] y = Conv<pads=[1,1,1,1]>(x, w) [d] z = Conv<pads=[1,1,1,1]>(x, v)"
    numbers = {"w": graphs.numbers(3, 16, 3, 3, 3), "v": graphs.numbers(4, 16, 3, 3, 3)}
    found = graphs.quantize(graphs.build(f"{head} {{ {body} }}", **numbers))
    assert found.executed()[0].count("Pad") == 1
    assert found.sqnr() > 30
    assert [n.op_type for n in without_padding(found.model).graph].count("Pad") == 0


def test_what_another_tool_pads_with_other_numbers_is_left_alone():
    found = graphs.quantize(image())
    pads = next(v for name, v in found.model.graph.initializers.items() if name.endswith("_pads"))
    pad = next(use.node for use in pads.uses())
    constant = IntegerConstants(found.model).constant(found.model.graph, "seven", np.uint8(7))
    pad.replace_input_with(2, constant)
    assert without_padding(found.model) is found.model


def test_a_convolution_left_float_is_not_padded():
    found = graphs.quantize(image(), excluded={"c": "asked for"})
    assert graphs.show(found.model) == graphs.show(found.original)


def test_sums_of_two_products_are_those_of_the_padded_channels():
    """Without padding 100 lies beside -100 and beside 1; with it beside the other 100."""
    one = np.array([[1.0, -100.0, 1.0], [100.0, 100.0, -1.0]], np.float32)
    weights = np.tile(one.reshape(2, 3, 1, 1), (8, 1, 3, 3))
    found = graphs.quantize(image(weights=weights, outputs=16), target=X86_AVX2)
    bounds = {name: r.bounds for name, r in found.ranges.items()}
    plan = resolve(found.original, found.annotations, bounds, pairs=PairForm.NARROW)
    assert [note.form for note in plan.pairs] == [PairForm.NARROW]
    entry = next(e for e in plan.weights if e.edge.input == 1)
    integers = np.rint(with_channels(weights, 1) / entry.params.scale.reshape(-1, 1, 1, 1))
    assert worst_sum(integers.astype(np.int8), (2, 3, 1)) <= LIMIT


def test_padding_can_be_taken_off_again():
    """What is looked at layer by layer reads what the float layers read, of any file."""
    padded, plain = (graphs.quantize(image(), target=target) for target in (CPU, UNPADDED))
    found = without_padding(padded.model)
    check.check(found)
    assert [n.op_type for n in found.graph] == [n.op_type for n in plain.model.graph]
    assert closeness(found, plain.model, padded.samples) > 190  # not a bit differs
    assert without_padding(plain.model) is plain.model


def test_what_another_tool_pads_stays():
    text = (
        '<ir_version: 8, opset_import: ["": 18]> n (uint8[1,4,8,8] x) => (float[1,2,7,8] z)'
        "<float s = {0.1}, int64[2] ends = {1, 0}, int64[1] axes = {3}, float[2,4,2,2] w = "
        f"{{{', '.join(['0.5'] * 32)}}}> {{ p = Pad(x, ends, , axes) d = DequantizeLinear(p, s)"
        " [c] z = Conv(d, w) }"
    )
    model = ir.from_onnx_text(text)
    assert without_padding(model) is model


def test_each_layer_is_compared_however_it_is_padded():
    padded, plain = (graphs.quantize(image(), target=target) for target in (CPU, UNPADDED))
    left, right = (diagnose(q.original, q.model, q.samples) for q in (padded, plain))
    assert [layer.alone_db for layer in left.layers] == [layer.alone_db for layer in right.layers]
    assert left.values == right.values
    assert left.layers


def test_channels_come_and_go():
    weight = graphs.numbers(1, 2, 3, 1, 1)
    wider = with_channels(weight, 2)
    assert wider.shape == (2, 5, 1, 1)
    assert not wider[:, 3:].any()
    np.testing.assert_array_equal(without_channels(wider, 2), weight)
    assert rows_in_order(wider, (2, 3, 1)).shape == (2, 5)


def test_only_a_convolution_between_pairs_can_be_padded():
    model = image()
    with pytest.raises(ModelError, match="reads nothing dequantized"):
        pad_input(model.graph[0], 1, IntegerConstants(model))


@pytest.mark.parametrize(("op", "multiple"), [("MatMul", 4), ("Conv", 0)])
def test_a_profile_cannot_ask_for_other_paddings(op, multiple):
    rows = tuple(
        replace(row, channel_multiple=multiple) if row.op_type == op else row for row in CPU.kernels
    )
    with pytest.raises(RecipeError, match="pad channels"):
        require_rules(replace(CPU, kernels=rows))
