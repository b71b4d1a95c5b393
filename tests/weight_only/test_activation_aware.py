"""Factors in front of products are those that leave the least error in their outputs."""

import numpy as np
import pytest

from edgeq.weight_only.activation_aware import Reader, input_factors, some_rows
from edgeq.weight_only.blocks import BlockSpec
from edgeq.weight_only.methods import quantize_rows
from edgeq.weight_only.moment import Moment

SPEC = BlockSpec(4, 32)


def inputs(outlying):
    found = np.random.default_rng(0).standard_normal((400, 64))
    found[:, [3, 40]] *= outlying
    return found


def moment(outlying):
    seen = inputs(outlying)
    return Moment(seen.T @ seen / len(seen), len(seen))


def reader(seed, rows=48):
    weights = np.random.default_rng(seed).standard_normal((rows, 64)).astype(np.float32)
    return Reader(weights, SPEC)


def output_error(readers, seen, factors):
    wrong = 0.0
    for each in readers:
        stored = quantize_rows((each.weights * factors).astype(np.float32), SPEC, "rtn")
        wrong += np.square(seen @ (stored.real() / factors - each.weights).T).sum()
    return wrong


def test_weights_of_large_inputs_are_made_finer():
    readers = [reader(1), reader(2)]
    factors = input_factors(readers, moment(30.0), ("rtn",))
    assert factors is not None
    assert factors[3] > 2 * np.median(factors)
    ones = np.ones(64)
    held_out = inputs(30.0)[::-1] * 1.1
    before, after = (output_error(readers, held_out, f) for f in (ones, factors))
    assert after < 0.6 * before


def test_what_the_method_in_use_does_not_gain_from_is_left_alone():
    calls = []

    def quantized(weights, spec, method, seen=None):
        calls.append(method)
        return quantize_rows(weights, spec, method if method == "rtn" else "k-quant", seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeq.weight_only.activation_aware.quantize_rows", quantized)
        assert input_factors([reader(1)], moment(30.0), ("gptq",)) is not None
    assert set(calls) == {"rtn", "gptq"}


def test_silent_inputs_ask_for_nothing():
    assert input_factors([reader(1)], Moment(np.zeros((64, 64)), 5), ("rtn",)) is None


def test_an_input_that_was_never_seen_keeps_a_factor_above_zero():
    seen = inputs(30.0)
    seen[:, 7] = 0.0
    factors = input_factors([reader(1)], Moment(seen.T @ seen / 400, 400), ("rtn",))
    assert factors is not None
    assert np.isfinite(factors).all()
    assert (factors > 0).all()


def test_some_rows_of_a_large_matrix_are_enough():
    weights = np.arange(5000 * 2, dtype=np.float32).reshape(5000, 2)
    rows = some_rows(weights)
    assert 128 <= len(rows) <= 256
    assert rows[0, 0] == 0
    assert rows[-1, 0] > 9000
