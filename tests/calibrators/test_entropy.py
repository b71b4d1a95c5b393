"""The vectorized divergence is the published one; the range it leads to is sensible."""

import itertools

import numpy as np
import pytest
from edgeq_calibrators.entropy import EPSILON, Divergence, Entropy, _linear, _sides

from edgeq.errors import RecipeError
from edgeq.types import QuantSpec, QuantType, TensorRange


def literal_divergence(counts, start, end, levels):
    """KL(P, Q) written down level by level; a bin that a level's edge cuts is two smaller ones."""
    inside = counts[start:end]
    if not inside.any():
        return np.inf
    p = inside.copy()
    p[0] += counts[:start].sum()
    p[-1] += counts[end:].sum()
    bins = np.arange(p.size)
    edges = [k * p.size / levels for k in range(levels + 1)]
    divergence = 0.0
    for a, b in itertools.pairwise(edges):
        part = np.clip(np.minimum(bins + 1, b) - np.maximum(bins, a), 0.0, 1.0)
        part[part < 1e-9] = 0.0
        occupied = (part > 0) & (p > 0)
        if occupied.any():
            share = ((part * inside).sum() / inside.sum() + EPSILON / levels) / (1 + EPSILON)
            q = share / part[occupied].sum()
            here = p[occupied] / p.sum()
            divergence += (part[occupied] * here * np.log(here / q)).sum()
    return float(divergence)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("sparse", [0.0, 0.7])
@pytest.mark.parametrize(("least", "most"), [(-1.0, 0.6), (0.0, 1.0), (-0.02, 1.0), (-1.0, -0.2)])
def test_divergence_equals_the_definition(symmetric, sparse, least, most):
    rng = np.random.default_rng(3)
    bins, levels = 128, 17
    counts = rng.integers(1, 50, 2 * bins) * np.geomspace(1, 1e-4, 2 * bins)
    counts[rng.random(2 * bins) < sparse] = 0.0
    centres = (np.arange(2 * bins) + 0.5) / bins - 1.0
    counts[(centres < least) | (centres > most)] = 0.0
    below, above = _sides(least, most, bins, symmetric=symmetric)
    widths = np.arange(bins, levels, -1)
    starts, ends = bins - np.minimum(widths, below), bins + np.minimum(widths, above)
    found = Divergence(counts, (below, above), levels)(widths)
    expected = [literal_divergence(counts, s, e, levels) for s, e in zip(starts, ends, strict=True)]
    assert starts.size > 50
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("elements", [12, 300, 20_000])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_best_of_its_thresholds(observe, seed, elements, symmetric):
    """What it leaves out could not have been better: no divergence is below its floor."""
    values = np.random.default_rng(seed).standard_t(2, elements)
    spec = QuantSpec(QuantType.INT8, symmetric=symmetric)
    divergence = Divergence.of(observe(np.maximum(values, -0.5 * seed)).histogram, spec)
    each = divergence(divergence.widths)
    assert (divergence.floors(divergence.widths) <= each).all()
    assert divergence.search() == divergence.widths[int(np.argmin(each))]


def test_the_noise_of_few_samples_is_no_divergence(observe, int8):
    """Of an even density nothing is lost in any level, however unevenly few samples fill it."""
    values = np.random.default_rng(1).uniform(-1.0, 1.0, 4_000)
    divergence = Divergence.of(observe(np.append(values, [-1.0, 1.0])).histogram, int8)
    assert divergence(divergence.widths[:1])[0] < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_the_search_meets_nearly_the_best_of_all_thresholds(seed):
    """Of the 900 that the bins allow it judges 128, the best within 3 % of the least divergence."""
    data = np.random.default_rng(seed).standard_t(4, 400_000)
    bins, levels = 1024, 256
    counts = np.histogram(data, 2 * bins, (-16.0, 16.0))[0].astype(np.float64)
    divergence = Divergence(counts, (bins, bins), levels)
    all_of_them = divergence(np.arange(bins, levels // 2, -1))
    assert divergence(np.array([divergence.search()]))[0] <= 1.03 * all_of_them.min()


def test_an_empty_outermost_level_has_a_finite_price(observe, uint8, context):
    """One element far out: without smoothing, no threshold below it could ever win."""
    values = np.concatenate([np.random.default_rng(0).uniform(0.0, 1.0, 10_000), [100.0]])
    divergence = Divergence.of(observe(values).histogram, uint8)
    assert np.isfinite(divergence(divergence.widths[:-1])).all()


def test_linear_bins_keep_the_mass(observe):
    values = np.random.default_rng(0).standard_normal(100_000)
    statistics = observe(values)
    reach = max(-statistics.minimum, statistics.maximum)
    counts = _linear(statistics.histogram, reach, 64)
    exact = np.histogram(values.astype(np.float32), 128, (-reach, reach))[0]
    assert counts.sum() == pytest.approx(values.size)
    np.testing.assert_allclose(counts, exact, atol=0.02 * exact.max())


def test_linear_bins_keep_the_mass_at_both_extrema(observe):
    counts = _linear(observe([-4.0] * 5 + [0.0] * 9 + [4.0] * 3).histogram, 4.0, 16)
    assert (counts[0], counts[-1], counts.sum()) == (5.0, 3.0, 8.0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_normal_data_is_clipped_in_its_tail(observe, context, symmetric):
    spec = QuantSpec(QuantType.INT8, symmetric=symmetric)
    statistics = observe(np.random.default_rng(0).standard_normal(1_000_000))
    found = Entropy().range(statistics, spec, context)
    assert 3.0 < found.high < 4.8
    assert -4.8 < found.low < -3.0


def test_a_relu_starts_at_zero_and_its_zeros_do_not_matter(observe, uint8, context):
    values = np.maximum(np.random.default_rng(0).standard_normal(500_000), 0)
    found = Entropy().range(observe(values), uint8, context)
    more = Entropy().range(observe(np.concatenate([values, np.zeros(2_000_000)])), uint8, context)
    assert found.low == 0.0
    assert 3.0 < found.high < 4.8
    assert more == found


def test_a_uniform_value_is_not_clipped(observe, uint8, context):
    values = np.random.default_rng(0).random(500_000)
    assert Entropy().range(observe(values), uint8, context).high > 0.99


def test_outliers_are_cut_off(observe, int8, context):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(1_000_000), rng.uniform(-40, 40, 100)])
    assert Entropy().range(observe(values), int8, context).high < 10.0


def test_with_more_levels_than_bins_there_is_nothing_to_lose(observe, context):
    spec = QuantSpec(QuantType.INT16, symmetric=True)
    assert Entropy().range(observe([-3.0, 1.0, 2.0]), spec, context) == TensorRange(-3.0, 2.0)


@pytest.mark.parametrize("options", [{"bins": 8}, {"levels": 1}, {"levels": -3}])
def test_refuses_other_parameters(options):
    with pytest.raises(RecipeError):
        Entropy(**options)
