"""Moments stand for the columns they were made of."""

import numpy as np
import pytest

from edgeq.refinement.moments import Moments


def pairs(seed=0, groups=2, n=5, counts=(30, 20)):
    """Columns of the float model and of the quantized one, sample by sample."""
    generator = np.random.default_rng(seed)
    made = []
    for columns in counts:
        wanted = generator.standard_normal((groups, n, columns)) + 1
        found = 0.9 * wanted + 0.1 * generator.standard_normal(wanted.shape) + 0.2
        made.append((wanted.astype(np.float32), found.astype(np.float32)))
    return made


def matrices(seed=9, groups=2, outputs=3, n=5):
    generator = np.random.default_rng(seed)
    made = (generator.standard_normal((2, groups, outputs, n))).astype(np.float32)
    return made[0], made[0] + made[1] / 10


def stacked():
    return (np.concatenate(part, axis=2).astype(np.float64) for part in zip(*pairs(), strict=True))


def test_errors_are_those_of_the_columns():
    right, left = matrices()
    wanted, found = stacked()
    want = np.square(right @ wanted - left @ found).sum(2)
    moments = Moments.over(right, pairs())
    np.testing.assert_allclose(moments.errors(right, left), want, rtol=1e-4)
    assert moments.count == 50


def test_centred_errors_are_those_behind_the_best_bias():
    right, left = matrices()
    wanted, found = stacked()
    error = right @ wanted - left @ found
    want = np.square(error - error.mean(2, keepdims=True)).sum(2)
    got = Moments.over(right, pairs()).centred().errors(right, left)
    np.testing.assert_allclose(got, want, rtol=1e-3)


def test_parts_join_to_the_whole():
    right, left = matrices()
    every = pairs()
    one, other = (Moments.over(right, [pair]) for pair in every)
    whole = Moments.over(right, every)
    np.testing.assert_allclose(
        one.joined(other).errors(right, left), whole.errors(right, left), rtol=1e-4
    )


def test_of_some_inputs_they_tell_what_changing_their_weights_alone_does():
    right, left = matrices()
    some, only = np.array([0, 3]), right.copy()
    only[..., some] = left[..., some]
    got = Moments.over(right, pairs(), some).errors(right[..., some], left[..., some])
    np.testing.assert_allclose(got, Moments.over(right, pairs()).errors(right, only), rtol=1e-4)


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 1e6])
def test_fitted_weights_err_less_the_freer_they_are(ridge):
    right, _ = matrices()
    moments = Moments.over(right, pairs())
    fitted = moments.fitted(right, ridge)
    assert moments.errors(right, fitted).sum() <= moments.errors(right, right).sum() * 1.0001
    if ridge < 1e-3:
        wanted, found = stacked()
        best = np.stack([np.linalg.lstsq(f.T, (r @ w).T, rcond=None)[0].T
                         for f, w, r in zip(found, wanted, right, strict=True)])  # fmt: skip
        np.testing.assert_allclose(fitted, best, atol=1e-3)
    if ridge > 1e3:
        np.testing.assert_allclose(fitted, right, atol=1e-4)


def test_few_columns_are_believed_less():
    right, _ = matrices()
    moments = Moments.over(right, pairs(counts=(5,)))
    shrunk = moments.shrunk(1.0)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(shrunk[:, off], moments.square[:, off] / 2, rtol=1e-5)
    np.testing.assert_allclose(
        np.einsum("gnn->gn", shrunk), np.einsum("gnn->gn", moments.square), rtol=1e-6
    )


def test_what_hardly_varies_about_a_large_mean_leaves_no_negative_squares():
    """A channel of 3000 beside others of 1: float32 sums of its squares are off by more than 1."""
    inputs = np.random.default_rng(0).normal(size=(1, 6, 5000)).astype(np.float32)
    inputs[:, 0] = inputs[:, 0] * 1e-3 + 3000
    matrix = np.ones((1, 2, 6), np.float32)
    centred = Moments.over(matrix, [(inputs, inputs)]).centred()
    assert np.linalg.eigvalsh(centred.square.astype(np.float64)).min() > 0
