"""Mixed bits under a budget."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.errors import RecipeError
from edgeq.recipe import Recipe
from edgeq.weight_only import allocation
from edgeq.weight_only.allocation import TrialGround, Width, allocate, widths
from edgeq.weight_only.blocks import BlockSpec
from edgeq.weight_only.damage import Trials
from edgeq.weight_only.tables import find_tables


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


def test_a_large_step_comes_first_where_it_is_worth_more_than_what_would_leave_it_no_room():
    choices = {
        "small": [Width(4, 100, 10.0), Width(8, 200, 0.0)],
        "large": [Width(4, 1000, 50.0), Width(8, 2000, 0.0)],
    }
    assert allocate(choices, 16800, 1.0) == {"small": 4, "large": 8}
    assert allocate(choices, 17600, 1.0) == {"small": 8, "large": 8}
    choices["large"][0] = Width(4, 1000, 9.0)
    assert allocate(choices, 16800, 1.0) == {"small": 8, "large": 4}


def test_a_budget_under_the_smallest_form_is_refused():
    with pytest.raises(RecipeError, match=r"2.01 bits a weight at least, and 1.9 are") as caught:
        allocate({"m": matrix(1, 1, 1)}, 799, 1.9)
    assert "--target-bits 2.01" in caught.value.remedy
    assert allocate({"m": matrix(1, 1, 1)}, 799, 2.01) == {"m": 2}


def three_layers():
    """The weights of the second layer are normal, those of the others lie on a grid of 2 bits.

    None of them is the output layer, which has its own rule.
    """
    generator = np.random.default_rng(0)

    def coarse():
        return (generator.integers(-2, 2, (64, 64)) * 0.1).astype(np.float32)

    return graphs.proto(
        "n (float[5,64] x) => (float[5,64] y) {"
        " [a] h = MatMul(x, u) [r] i = Relu(h) [b] z = MatMul(i, v) [s] j = Relu(z)"
        " [c] k = MatMul(j, w) y = Sigmoid(k) }",
        u=coarse(), v=graphs.numbers(1, 64, 64, scale=0.1), w=coarse(),
    )  # fmt: skip


def test_bits_go_where_they_help_and_the_mean_is_kept():
    result = edgeq.quantize(three_layers(), scheme="w2", target_bits=5.2, validate=False, threads=1)
    bits = {row.nodes[0]: row.bits for row in result.report.blocks}
    assert bits == {"a": 2, "b": 8, "c": 2}
    stored = sum(row.bytes for row in result.report.blocks)
    assert 8 * stored <= 5.2 * sum(row.weights for row in result.report.blocks)


@pytest.mark.parametrize(("target", "last"), [(6.6, 8), (6.0, 4)])
def test_the_output_layer_is_as_wide_as_without_a_budget_where_that_fits(target, last):
    model = three_layers()
    model.graph.node[-2].output[0] = "y"
    del model.graph.node[-1]
    result = edgeq.quantize(model, scheme="w4", target_bits=target, validate=False, threads=1)
    assert result.report.blocks[-1].bits == last


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


def test_a_budget_under_the_smallest_form_is_refused_before_anything_is_tried(monkeypatch):
    monkeypatch.setattr(Trials, "__init__", lambda *_, **__: pytest.fail("the model was run"))
    with pytest.raises(RecipeError, match="bits a weight at least"):
        edgeq.quantize(three_layers(), scheme="w4", target_bits=5.0, validate=False, threads=1)


def two_layers(scale_u, scale_v):
    """Two equal layers beside each other, of which the output takes so much."""
    weights = graphs.numbers(1, 64, 64, scale=0.1)
    return graphs.proto(
        "n (float[5,64] x, float[5,64] z) => (float[5,64] y) {"
        " [a] h = MatMul(x, u) [b] i = MatMul(z, v) [r] j = Sigmoid(h) [s] k = Sigmoid(i)"
        " [t] l = Mul(j, p) [m] n = Mul(k, q) [o] y = Add(l, n) }",
        u=weights, v=weights + graphs.numbers(2, 64, 64, scale=1e-6),
        p=np.float32(scale_u), q=np.float32(scale_v),
    )  # fmt: skip


@pytest.mark.parametrize(("scales", "wide"), [((1.0, 0.1), "a"), ((0.1, 1.0), "b")])
@pytest.mark.parametrize("has_data", [True, False])
def test_of_two_equal_layers_that_one_is_wider_which_the_output_minds(scales, wide, has_data):
    data = [{name: graphs.numbers(seed, 5, 64) for seed, name in enumerate("xz")}]
    result = edgeq.quantize(
        two_layers(*scales), data if has_data else None, scheme="w4", target_bits=7.2,
        validate=False, threads=1,
    )  # fmt: skip
    bits = {row.nodes[0]: row.bits for row in result.report.blocks}
    assert bits == {"a": 4, "b": 4, wide: 8}


def test_a_matrix_that_no_run_can_be_fed_counts_as_the_others_do_on_average():
    model = graphs.build(
        "n (bool c, float[2,64] x) => (float[2,64] y, float[2,64] z) {"
        " z = MatMul(x, v) y = If (c) <"
        "then_branch = t () => (float[2,64] p) { [inside] p = MatMul(x, w) },"
        "else_branch = e () => (float[2,64] q) { q = Neg(x) }> }",
        v=graphs.numbers(1, 64, 64), w=graphs.numbers(2, 64, 64),
    )  # fmt: skip
    (body,) = (n.attributes["then_branch"].as_graph() for n in model.graph if n.op_type == "If")
    constant = model.graph.initializers.pop("w")
    body.register_initializer(constant)
    sample = {"c": np.asarray(True), "x": graphs.numbers(3, 2, 64)}
    tables = find_tables(model, Recipe()).tables
    specs = {table: [BlockSpec(4, 32), BlockSpec(8, 32)] for table in tables}
    found = widths(model, specs, TrialGround([sample]))
    shares = {name: narrow.error / wide.error for name, (narrow, wide) in found.items()}
    assert found["w"][0].error == pytest.approx(found["v"][0].error, rel=0.1)
    assert shares["w"] == pytest.approx(shares["v"], rel=0.3)


def test_no_more_runs_than_are_allowed_even_where_matrices_are_many(monkeypatch):
    monkeypatch.setattr(allocation, "_RUNS", 2)
    model = graphs.build(
        "n (float[5,64] x) => (float[5,64] y) {"
        " [a] h = MatMul(x, u) [r] i = Relu(h) [b] z = MatMul(i, v) [s] j = Relu(z)"
        " [c] k = MatMul(j, w) y = Sigmoid(k) }",
        **{name: graphs.numbers(seed, 64, 64) for seed, name in enumerate("uvw")},
    )
    tried = []
    damage = Trials.damage
    monkeypatch.setattr(
        Trials, "damage", lambda self, instead: tried.append(len(instead)) or damage(self, instead)
    )
    tables = find_tables(model, Recipe()).tables
    specs = {table: [BlockSpec(4, 32), BlockSpec(8, 32)] for table in tables}
    found = widths(model, specs, TrialGround(graphs.feeds(model, 8)))
    assert tried == [2, 1]
    assert all(narrow.error > 50 * wide.error > 0 for narrow, wide in found.values())
