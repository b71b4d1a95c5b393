"""Rounding by the error of products, against plain rounding and against trying everything."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.refinement.nearest import Grid, round_matrix


def problem(seed, groups=1, outputs=4, n=6, rows=50, limit=7):
    """Weights, moments of inputs that go together, a grid, and plainly rounded integers."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((groups, rows, n)) @ generator.standard_normal((groups, n, n))
    inputs = mixed.astype(np.float32)
    weight = generator.standard_normal((groups, outputs, n)).astype(np.float32)
    scale = np.abs(weight).max(axis=2, keepdims=True) / limit
    grid = Grid(np.broadcast_to(scale, weight.shape), limit)
    return weight, inputs, grid, np.rint(weight / scale)


def error(weight, integers, inputs, grid):
    """[groups, outputs]: squares of what the outputs differ by, in float64."""
    off = (weight - integers * grid.scale).astype(np.float64)
    return np.square(inputs.astype(np.float64) @ off.transpose(0, 2, 1)).sum(1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 150),
    st.integers(1, 80), st.sampled_from([1, 7, 63, 127]),
)  # fmt: skip
def test_no_output_gets_worse_and_every_integer_is_on_the_grid(seed, groups, outs, n, rows, limit):
    weight, inputs, grid, plain = problem(seed, groups, outs, n, rows, limit)
    moments = inputs.transpose(0, 2, 1) @ inputs
    made = round_matrix(weight, moments, grid, plain)
    assert np.abs(made).max() <= limit
    np.testing.assert_array_equal(made, np.rint(made))
    before, after = (error(weight, i, inputs, grid) for i in (plain, made))
    slack = 1e-4 * np.square(inputs @ weight.transpose(0, 2, 1)).sum(1)
    assert (after <= before + slack).all()


@pytest.mark.parametrize("seed", range(8))
def test_it_comes_close_to_the_best_of_all_integers(seed):
    weight, inputs, grid, plain = problem(seed, outputs=1, n=5, limit=3)
    made = round_matrix(weight, inputs.transpose(0, 2, 1) @ inputs, grid, plain)
    best = min(
        float(error(weight, np.array(each, float).reshape(1, 1, 5), inputs, grid)[0, 0])
        for each in itertools.product(range(-3, 4), repeat=5)
    )
    assert error(weight, made, inputs, grid)[0, 0] <= 2.5 * best


def test_errors_of_inputs_that_go_together_cancel_out():
    weight, inputs, grid, plain = problem(3, outputs=32, n=64, rows=4000)
    made = round_matrix(weight, inputs.transpose(0, 2, 1) @ inputs, grid, plain)
    assert error(weight, made, inputs, grid).sum() < 0.5 * error(weight, plain, inputs, grid).sum()


def test_inputs_that_are_independent_leave_plain_rounding():
    weight, _, grid, plain = problem(0, groups=2, n=70)
    moments = np.broadcast_to(np.eye(70, dtype=np.float32), (2, 70, 70))
    np.testing.assert_array_equal(round_matrix(weight, moments, grid, plain), plain)


def test_inputs_that_are_always_zero_leave_their_weights():
    weight, inputs, grid, plain = problem(0, n=8)
    inputs[:, :, 3] = 0
    made = round_matrix(weight, inputs.transpose(0, 2, 1) @ inputs, grid, plain)
    np.testing.assert_array_equal(made[..., 3], plain[..., 3])
    silent = np.zeros((1, 8, 8), np.float32)
    np.testing.assert_array_equal(round_matrix(weight, silent, grid, plain), plain)


def test_groups_are_independent():
    weight, inputs, grid, plain = problem(5, groups=3, n=9)
    moments = inputs.transpose(0, 2, 1) @ inputs
    whole = round_matrix(weight, moments, grid, plain)
    for g in range(3):
        one = slice(g, g + 1)
        alone = round_matrix(weight[one], moments[one], Grid(grid.scale[one], 7), plain[one])
        np.testing.assert_array_equal(whole[one], alone)
