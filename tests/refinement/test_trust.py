"""What few samples teach is believed as far as others bear it out."""

import numpy as np
import pytest

from edgeq.refinement import trust
from edgeq.refinement.moments import Moments
from edgeq.refinement.nearest import Grid
from edgeq.refinement.trust import Product, Trust, trust_in


def product(outputs=48, n=64, patch=1, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((1, outputs, n)).astype(np.float32)
    grid = Grid(np.full(matrix.shape, 0.5, np.float32), 127.0)
    return Product(matrix, grid, np.rint(matrix / 0.5), patch)


def columns(n=64, count=40, mixed=False, halves=2, seed=1):
    """Inputs that go together, or only seem to; both models read the same."""
    generator = np.random.default_rng(seed)
    mix = generator.standard_normal((n, n // 16)) if mixed else np.eye(n)
    made = []
    for _ in range(halves):
        found = mix @ generator.standard_normal((mix.shape[1], count))
        found = (found + 0.05 * generator.standard_normal(found.shape)).astype(np.float32)[None]
        made.append((found, found))
    return made


@pytest.mark.parametrize(("mixed", "count"), [(False, 40), (True, 4000)])
def test_inputs_that_go_together_by_chance_are_not_believed(mixed, count):
    found = trust_in(product(), columns(count=count, mixed=mixed), centred=False)
    assert (found.believed == 1.0) is mixed


@pytest.mark.parametrize(("mixed", "count"), [(False, 320), (True, 8000)])
def test_wide_layers_are_judged_in_small_with_as_many_columns_per_input(monkeypatch, mixed, count):
    sizes = []
    over = Moments.over.__func__

    def watched(cls, matrix, pairs, inputs=slice(None)):
        found = over(cls, matrix, pairs, inputs)
        sizes.append((found.square.shape[-1], found.count))
        return found

    monkeypatch.setattr(Moments, "over", classmethod(watched))
    n = 8 * trust._JUDGED_INPUTS
    wide = product(outputs=8, n=n, patch=4)
    found = trust_in(wide, columns(n=n, count=count, mixed=mixed), centred=False)
    assert (found.believed == 1.0) is mixed
    assert sizes == [(trust._JUDGED_INPUTS, count // 8)] * 2


def test_weights_are_fitted_where_the_quantized_model_feeds_something_else():
    exact = columns(count=400)
    shifted = [(x, np.float32(0.8) * x) for x, _ in exact]
    assert trust_in(product(), exact, centred=False).ridge is None
    assert trust_in(product(), shifted, centred=False).ridge == trust._RIDGES[0]


def test_without_other_samples_little_is_believed():
    assert trust_in(product(), columns(halves=1), centred=False) == Trust(None, 100.0)


def test_of_many_groups_some_are_judged_by():
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((600, 1, 9)).astype(np.float32)
    grid = Grid(np.full(matrix.shape, 0.5, np.float32), 127.0)
    reads = [generator.standard_normal((600, 9, 50)).astype(np.float32) for _ in range(2)]
    reads = [(x, np.float32(0.8) * x) for x in reads]
    # What the others read makes no difference.
    others = np.arange(600) % 10 != 0
    for x, _ in reads:
        x[others] = np.nan
    found = trust_in(Product(matrix, grid, np.rint(matrix / 0.5), 9), reads, centred=True)
    assert found.ridge == trust._RIDGES[0]
