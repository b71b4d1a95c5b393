"""How integers are found: each method does what it is for."""

import itertools

import numpy as np
import pytest

from edgeq.errors import RecipeError
from edgeq.weight_only.blocks import BlockSpec
from edgeq.weight_only.compensated import compensation
from edgeq.weight_only.methods import METHODS, applicable, quantize_rows, relative_error
from edgeq.weight_only.moment import Moment


@pytest.fixture(scope="module")
def layer():
    """Weights with heavy tails, and the second moment of inputs that hang together."""
    generator = np.random.default_rng(0)
    weights = (generator.standard_t(4, (96, 80)) * 0.1).astype(np.float32)
    factors = generator.standard_normal((24, 80)) * np.exp(generator.standard_normal(80) / 2)
    inputs = generator.standard_normal((600, 24)) @ factors
    inputs += 0.3 * generator.standard_normal((600, 80))
    return weights, Moment(inputs.T @ inputs / 600, 600)


def weight_error(weights, spec, method):
    return relative_error(weights, quantize_rows(weights, spec, method))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 2])
def test_a_search_for_the_least_error_finds_less_than_covering_everything(layer, bits, symmetric):
    spec = BlockSpec(bits, 32, symmetric)
    nearest = weight_error(layer[0], spec, "rtn")
    assert weight_error(layer[0], spec, "k-quant") < 0.95 * nearest
    assert weight_error(layer[0], spec, "hqq") < nearest


@pytest.mark.parametrize("method", [method.name for method in METHODS])
@pytest.mark.parametrize("symmetric", [False, True])
def test_eight_bits_are_close_with_any_method(layer, method, symmetric):
    weights, moment = layer
    stored = quantize_rows(weights, BlockSpec(8, 32, symmetric), method, moment)
    assert relative_error(weights, stored, moment) < 1e-4


def test_knowing_the_inputs_makes_the_outputs_closer(layer):
    weights, moment = layer
    spec = BlockSpec(4, 32)
    blind = relative_error(weights, quantize_rows(weights, spec, "k-quant"), moment)
    seeing = relative_error(weights, quantize_rows(weights, spec, "k-quant", moment), moment)
    compensated = relative_error(weights, quantize_rows(weights, spec, "gptq", moment), moment)
    assert seeing < blind
    assert compensated < 0.6 * seeing


def test_columns_make_up_less_for_each_other_where_fewer_inputs_were_seen(layer):
    def spread(rows):
        factor = compensation(Moment(layer[1].mean, rows), 32).factor
        return np.abs(factor / np.diagonal(factor)[:, None] - np.eye(80)).sum()

    assert spread(100) < 0.8 * spread(1000) < 0.8 * spread(100_000)


def test_columns_of_the_greatest_inputs_come_first_block_by_block(layer):
    order = compensation(layer[1], 32).order
    energy = np.diagonal(layer[1].mean)
    blocks = [order[place] // 32 for place in range(80)]
    assert sorted(order) == list(range(80))
    assert len(list(itertools.groupby(blocks))) == 3
    totals = [energy[32 * b : 32 * b + 32].sum() for b, _ in itertools.groupby(blocks)]
    assert totals == sorted(totals, reverse=True)
    assert np.all(np.diff(energy[order[:32]]) <= 0)


def test_compensation_without_any_signal_is_rounding_to_the_best_grid(layer):
    weights, _ = layer
    spec = BlockSpec(4, 16)
    stored = quantize_rows(weights, spec, "gptq", Moment(np.zeros((80, 80)), 9))
    nearest = stored.grid.reals(stored.grid.codes(weights.reshape(96, 5, 16))).reshape(96, 80)
    assert np.array_equal(stored.real(), nearest)


def test_inputs_that_are_always_zero_leave_their_weights_alone(layer):
    weights, moment = layer
    silent = moment.mean.copy()
    silent[3], silent[:, 3] = 0.0, 0.0
    stored = quantize_rows(weights, BlockSpec(8, 16), "gptq", Moment(silent, moment.rows))
    assert np.abs(stored.real()[:, 3] - weights[:, 3]).max() < 0.02


def test_columns_that_do_not_fill_the_last_block(layer):
    weights, moment = layer
    fewer = Moment(moment.mean[:70, :70], moment.rows)
    for method in ("rtn", "hqq", "k-quant", "gptq"):
        stored = quantize_rows(weights[:, :70], BlockSpec(4, 32), method, fewer)
        assert stored.real().shape == (96, 70)
        assert relative_error(weights[:, :70], stored) < 0.05


def test_a_method_that_needs_data_says_so():
    with pytest.raises(RecipeError, match="--calib"):
        applicable("gptq", has_data=False)
    with pytest.raises(RecipeError, match="Did you mean 'gptq'"):
        applicable("gtpq", has_data=True)
    assert "gptq" not in applicable("auto", has_data=False)
    assert "gptq" in applicable("auto", has_data=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_that_are_on_a_grid_already_stay_on_it(symmetric):
    generator = np.random.default_rng(3)
    codes = generator.integers(2, 15, (40, 2, 32))
    codes[:, :, 7] = 0
    scale = generator.uniform(0.01, 0.1, (40, 2, 1))
    weights = ((codes - 8) * scale).reshape(40, 64).astype(np.float32)
    moment = Moment(np.cov(generator.standard_normal((64, 500))), 500)
    for method in ("k-quant", "gptq"):
        stored = quantize_rows(weights, BlockSpec(4, 32, symmetric), method, moment)
        assert relative_error(weights, stored) < 1e-10
