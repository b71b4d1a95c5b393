"""The factor by which columns make up for each other."""

import graphs
import numpy as np
import pytest

from edgeq.weight_only.compensated import inverse_factor


@pytest.mark.parametrize("columns", [1, 64, 65, 300])
def test_the_factor_is_upper_and_its_square_the_inverse(columns):
    inputs = graphs.numbers(0, 2 * columns, columns).astype(np.float64)
    moment = inputs.T @ inputs / len(inputs)
    found = inverse_factor(moment, 0.1).astype(np.float64)
    damped = moment + 0.1 * np.diagonal(moment).mean() * np.eye(columns)
    assert np.array_equal(found, np.triu(found))
    np.testing.assert_allclose(found.T @ found @ damped, np.eye(columns), atol=1e-4)


def test_what_cannot_be_factorized_is_damped_until_it_can():
    one = np.ones((80, 1))
    found = inverse_factor(one @ one.T - 0.02 * np.eye(80), 1e-3)
    assert np.isfinite(found).all()
    assert (np.diagonal(found) > 0).all()


def test_without_inputs_nothing_is_made_up_for():
    assert np.array_equal(inverse_factor(np.zeros((70, 70))), np.eye(70))
