"""Mixed bits under a budget."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.errors import RecipeError
from edgeq.weight_only.allocation import Width, allocate


def matrix(*errors):
    return [Width(bits, 100 * bits, error) for bits, error in zip((2, 4, 8), errors, strict=True)]


def test_the_step_that_takes_away_most_error_for_a_byte_comes_first():
    choices = {"frail": matrix(0.9, 0.2, 0.001), "tough": matrix(0.3, 0.02, 0.0001)}
    assert allocate(choices, 800, 4) == {"frail": 2, "tough": 2}
    assert allocate(choices, 800, 6) == {"frail": 4, "tough": 2}
    assert allocate(choices, 800, 8) == {"frail": 4, "tough": 4}
    assert allocate(choices, 800, 12) == {"frail": 8, "tough": 4}
    assert allocate(choices, 800, 99.99) == {"frail": 8, "tough": 8}


def test_a_step_that_does_not_fit_leaves_room_for_a_smaller_one():
    choices = {
        "large": [Width(2, 1000, 0.9), Width(4, 2000, 0.0)],
        "small": [Width(2, 10, 0.5), Width(4, 20, 0.4999)],
    }
    assert allocate(choices, 8000, 1.5) == {"large": 2, "small": 4}


def test_a_budget_under_the_smallest_form_is_refused():
    with pytest.raises(RecipeError, match=r"2.01 bits a weight at least, and 1.9 are") as caught:
        allocate({"m": matrix(1, 1, 1)}, 799, 1.9)
    assert "--target-bits 2.01" in caught.value.remedy
    assert allocate({"m": matrix(1, 1, 1)}, 799, 2.01) == {"m": 2}


def three_layers():
    """The weights of the second layer are normal, those of the others lie on a grid of 2 bits."""
    generator = np.random.default_rng(0)

    def coarse():
        return (generator.integers(-2, 2, (64, 64)) * 0.1).astype(np.float32)

    return graphs.proto(
        "n (float[5,64] x) => (float[5,64] y) {"
        " [a] h = MatMul(x, u) [r] i = Relu(h) [b] z = MatMul(i, v) [s] j = Relu(z)"
        " [c] y = MatMul(j, w) }",
        u=coarse(), v=graphs.numbers(1, 64, 64, scale=0.1), w=coarse(),
    )  # fmt: skip


def test_bits_go_where_they_help_and_the_mean_is_kept():
    result = edgeq.quantize(three_layers(), scheme="w2", target_bits=5.2, validate=False, threads=1)
    bits = {row.nodes[0]: row.bits for row in result.report.blocks}
    assert bits == {"a": 2, "b": 8, "c": 2}
    stored = sum(row.bytes for row in result.report.blocks)
    assert 8 * stored <= 5.2 * sum(row.weights for row in result.report.blocks)


def test_bits_that_are_told_stay():
    result = edgeq.quantize(
        three_layers(), scheme="w2", target_bits=5.2, layer_bits={"a": 4}, validate=False, threads=1
    )
    assert result.report.blocks[0].bits == 4


@pytest.mark.parametrize("bits", [1.5, 20.0])
def test_means_out_of_reach_are_refused(bits):
    with pytest.raises(RecipeError, match="between 2 and 9"):
        edgeq.quantize("missing.onnx", scheme="w4", target_bits=bits)


def test_nothing_is_narrower_than_the_scheme():
    result = edgeq.quantize(three_layers(), scheme="w4", target_bits=6.6, validate=False, threads=1)
    bits = {row.nodes[0]: row.bits for row in result.report.blocks}
    assert bits == {"a": 4, "b": 8, "c": 4}


def test_of_two_equal_layers_the_output_layer_is_the_wider_one():
    weights = graphs.numbers(1, 64, 64, scale=0.1)
    model = graphs.proto(
        "n (float[5,64] x) => (float[5,64] y) {"
        " [a] h = MatMul(x, u) [r] i = Relu(h) [b] y = MatMul(i, v) }",
        u=weights, v=weights + graphs.numbers(2, 64, 64, scale=1e-6),
    )  # fmt: skip
    result = edgeq.quantize(model, scheme="w4", target_bits=7.2, validate=False, threads=1)
    assert {row.nodes[0]: row.bits for row in result.report.blocks} == {"a": 4, "b": 8}
