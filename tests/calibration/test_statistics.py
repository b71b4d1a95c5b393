"""Statistics are exact where they say so, and merge to the same bits in any order."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.subsampling import (
    DENSE,
    coprime_stride,
    counted_whole,
    stretches,
    stride_in,
)
from edgeq.errors import CalibrationError

ALL = frozenset(StatisticKind)
FLOATS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def observe(samples, kinds=ALL, **options):
    statistics = Statistics(kinds, **options)
    for index, sample in samples:
        statistics.update(index, sample)
    return statistics


def as_bytes(statistics):
    return {name: array.tobytes() for name, array in statistics.to_arrays().items()}


@given(st.lists(FLOATS, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_merging_in_any_order_equals_a_single_run_to_the_bit(samples, random):
    numbered = list(enumerate(samples))
    whole = as_bytes(observe(numbered, limit=16))
    parts = [observe(numbered[k::3], limit=16) for k in range(3)]
    for a, b, c in itertools.permutations(parts):
        assert as_bytes(a.merge(b).merge(c)) == whole
        assert as_bytes(a.merge(b.merge(c))) == whole
    random.shuffle(numbered)
    assert as_bytes(observe(numbered, limit=16)) == whole


@given(FLOATS)
def test_extrema_and_sums_are_those_of_numpy(array):
    statistics = observe([(7, array)])
    assert statistics.count == array.size
    if not array.size:
        assert not statistics.samples.indices.size
        return
    assert (statistics.minimum, statistics.maximum) == (array.min(), array.max())
    view = statistics.samples
    assert (view.indices.tolist(), view.minima[0], view.maxima[0]) == (
        [7],
        array.min(),
        array.max(),
    )
    exact = math.fsum(array.ravel().tolist())
    assert abs(view.sums[0] - exact) <= 1e-6 * math.fsum(np.abs(array).ravel().tolist())


@given(FLOATS.filter(lambda array: array.size), st.floats(0.0, 1.0))
def test_quantiles_lie_within_one_percent_of_the_exact_ones(array, q):
    found = observe([(0, array)]).histogram.quantile(q)
    exact = float(np.sort(array, axis=None)[max(math.ceil(q * array.size) - 1, 0)])
    assert abs(found - exact) <= 0.01 * abs(exact) + 2.0**-132
    assert array.min() <= found <= array.max()


@given(FLOATS.filter(lambda array: array.size))
def test_histogram_bins_hold_exactly_their_elements(array):
    histogram = observe([(0, array)]).histogram
    assert histogram.total == histogram.counts.sum() == array.size
    assert (histogram.counts > 0).all()
    assert (histogram.edges_low <= histogram.edges_high).all()
    assert (histogram.edges_high[:-1] <= histogram.edges_low[1:]).all()
    assert (histogram.edges_low[0], histogram.edges_high[-1]) == (array.min(), array.max())
    values = array.astype(np.float64).ravel()
    zero = 2.0**-133
    bins = zip(histogram.edges_low, histogram.edges_high, histogram.counts, strict=True)
    for place, (low, high, count) in enumerate(bins):
        # The extrema belong to the outermost bins, whose edges they are.
        first, last = place == 0, place == histogram.counts.size - 1
        if low < zero and high > -zero:
            inside = np.abs(values) < zero
        elif low > 0:
            inside = (values >= low) & ((values < high) | last & (values == high))
        else:
            inside = (values <= high) & ((values > low) | first & (values == low))
        assert inside.sum() == count


def test_bins_are_narrower_than_one_percent():
    edges = np.geomspace(2.0**-120, 3e38, 3000, dtype=np.float32)
    histogram = observe([(0, np.concatenate([edges, -edges]))]).histogram
    width = histogram.edges_high - histogram.edges_low
    magnitude = np.minimum(np.abs(histogram.edges_high), np.abs(histogram.edges_low))
    assert (width <= 0.01 * magnitude).all()


@pytest.mark.parametrize("shape", [(16, 200, 200), (32_770,), (32_768 + 2, 3)])
def test_subsampled_quantiles_stay_within_the_stated_bound(shape):
    rng = np.random.default_rng(5)
    array = rng.standard_normal(shape).astype(np.float32)
    statistics = observe([(0, array)])
    ordered = np.sort(array, axis=None)
    counted = array.size / coprime_stride(array.size, 2**15)
    bound = math.sqrt(math.log(2 / 1e-6) / (2 * counted))
    assert bound < 0.026
    for q in np.linspace(0.001, 0.999, 101):
        rank = np.searchsorted(ordered, statistics.histogram.quantile(q)) / array.size
        assert abs(rank - q) <= bound + 0.004  # a bin at the median holds up to 0.3 %
    assert (statistics.minimum, statistics.maximum) == (array.min(), array.max())
    assert abs(statistics.histogram.total / array.size - 1) < 1e-3


@pytest.mark.parametrize("shape", [(1, 64, 56, 56), (1, 56, 56, 64), (8, 197, 768), (3, 1000, 7)])
def test_the_stride_meets_all_channels_equally_often(shape):
    size = math.prod(shape)
    stride = coprime_stride(size, 4096)
    counted = np.arange(0, size, stride)
    assert 4096 / 3 < counted.size < 4096 * 2
    for axis, dim in enumerate(shape):
        if dim == 1 or dim * math.prod(shape[axis + 1 :]) > 8 * 4096:
            continue  # one period is longer than what is counted
        seen = np.bincount(np.unravel_index(counted, shape)[axis], minlength=dim)
        assert seen.max() <= 1.5 * seen.mean() + 2
        assert seen.min() >= 0.5 * seen.mean() - 2


def test_the_stride_goes_by_the_index_alone_and_small_arrays_count_whole():
    assert stride_in(DENSE - 1, 300_000, 2**15) == coprime_stride(300_000, 2**15)
    assert stride_in(DENSE, 300_000, 2**15) == coprime_stride(300_000, 2**13)
    assert stride_in(DENSE - 1, 38_400, 2**15) == 1
    assert stride_in(DENSE, 38_400, 2**15) == coprime_stride(38_400, 2**13) > 1
    assert stride_in(DENSE, counted_whole(2**15), 2**15) == 1


def test_dense_and_sparse_samples_weigh_alike_and_merge_to_the_bit():
    rng = np.random.default_rng(5)
    samples = [(i, rng.standard_normal(153_600).astype(np.float32)) for i in range(DENSE + 4)]
    whole = observe(samples)
    assert whole.histogram.total == pytest.approx(whole.count, rel=0.01)
    merged = observe(samples[5:]).merge(observe(samples[:5])).to_arrays()
    assert all(np.array_equal(array, merged[key]) for key, array in whole.to_arrays().items())


def test_no_position_is_skipped_in_every_sample():
    array = np.ones(100_000, np.float32)
    array[-1] = 50.0
    statistics = observe([(i, array) for i in range(70)])
    histogram = statistics.histogram
    assert histogram.counts[-1] == pytest.approx(70, rel=0.2)


def test_an_extremum_that_the_stride_skips_still_bounds_the_histogram():
    array = np.ones(100_000, np.float32)
    array[1], array[2] = -3.0, 9.0
    histogram = observe([(0, array)]).histogram
    assert (histogram.edges_low[0], histogram.edges_high[-1]) == (-3.0, 9.0)
    assert histogram.counts[0] == histogram.counts[-1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_elements_are_refused_and_change_nothing(bad):
    statistics = observe([(0, np.arange(3.0))])
    before = as_bytes(statistics)
    with pytest.raises(CalibrationError, match="sample 4"):
        statistics.update(4, np.array([1.0, bad, 2.0], np.float32))
    assert as_bytes(statistics) == before


def test_numbers_beyond_float32_are_refused():
    with pytest.raises(CalibrationError, match="beyond float32"):
        observe([(0, np.array([1e300]))])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_, np.float16, np.float64])
def test_other_number_types_are_taken_as_float32(dtype):
    array = np.array([[0, 1], [1, 1]]).astype(dtype)
    assert as_bytes(observe([(0, array)])) == as_bytes(observe([(0, array.astype(np.float32))]))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([None])])
def test_what_is_no_number_is_refused(array):
    with pytest.raises(CalibrationError, match="has no range"):
        observe([(0, array)])


def test_memory_layout_and_later_writes_do_not_matter():
    array = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)
    expected = as_bytes(observe([(0, array)]))
    turned = np.asfortranarray(array)
    assert as_bytes(observe([(0, turned)])) == expected
    statistics = observe([(0, turned)])
    array[:] = turned[:] = 0.0
    assert as_bytes(statistics) == expected


def test_negative_zero_counts_as_zero():
    zeros = np.array([0.0, -0.0], np.float32)
    one, two = observe([(0, zeros[:1])]), observe([(0, zeros[1:])])
    assert str(one.minimum) == str(two.minimum) == "0.0"
    histogram = observe([(0, zeros)]).histogram
    assert histogram.counts.tolist() == [2]


def test_a_value_seen_twice_in_a_sample_adds_up():
    parts = [np.array([1.0, 2.0]), np.array([-5.0]), np.array([8.0])]
    for order in ([0, 1, 0], [0, 0, 1]):
        statistics = observe(zip(order, parts, strict=True))
        assert statistics.samples.indices.tolist() == [0, 1]
        assert statistics.mean == 1.5
        assert statistics.samples.sums.sum() == 6.0


def test_sums_of_huge_elements_do_not_overflow():
    statistics = observe([(0, np.full(5000, 3e38, np.float32))])
    assert statistics.mean == pytest.approx(3e38, rel=1e-6)


def test_records_grow_past_their_first_allocation():
    statistics = observe([(i, np.array([i])) for i in reversed(range(1000))])
    assert statistics.samples.indices.tolist() == list(range(1000))
    assert statistics.samples.maxima.tolist() == list(range(1000))
    assert not statistics.samples.maxima.flags.writeable


@pytest.mark.parametrize("index", [-1, 2**31])
def test_sample_indices_that_do_not_fit_are_refused(index):
    with pytest.raises(CalibrationError, match="sample index"):
        observe([(index, np.ones(1))])


def test_what_was_not_requested_cannot_be_read():
    statistics = observe([(0, np.ones(3))], frozenset({StatisticKind.EXTREMA}))
    assert statistics.maximum == 1.0
    with pytest.raises(CalibrationError, match="HISTOGRAM"):
        _ = statistics.histogram
    with pytest.raises(CalibrationError, match="SAMPLE_EXTREMA"):
        _ = statistics.samples


@pytest.mark.parametrize("name", ["minimum", "maximum", "mean", "histogram"])
def test_nothing_observed_is_an_error(name):
    with pytest.raises(CalibrationError, match="no element"):
        getattr(observe([(0, np.zeros((0, 3)))]), name)


def test_shards_that_share_a_sample_do_not_merge():
    with pytest.raises(CalibrationError, match="sample 3 "):
        observe([(3, np.ones(1))]).merge(observe([(3, np.ones(1))]))


def test_shards_of_different_kinds_do_not_merge():
    with pytest.raises(CalibrationError, match="kinds or limits"):
        Statistics(ALL).merge(Statistics(frozenset()))


def test_arrays_bring_statistics_back_and_they_go_on_counting(tmp_path):
    rng = np.random.default_rng(0)
    samples = [(i, rng.standard_normal((50, 20))) for i in range(4)]
    np.savez(tmp_path / "statistics.npz", **observe(samples[:2]).to_arrays())
    with np.load(tmp_path / "statistics.npz", allow_pickle=False) as arrays:
        back = Statistics.from_arrays(arrays)
    for index, sample in samples[2:]:
        back.update(index, sample)
    assert as_bytes(back) == as_bytes(observe(samples))


@pytest.mark.parametrize(
    "damage",
    [
        {"counts": np.zeros((1, 3))},
        {"block": np.array([9999]), "counts": np.zeros((1, 128))},
        {"count": np.array(-1)},
        {"extrema": np.array([1.0, np.nan])},
        {"kinds": np.array(["mood"])},
        {"sample_sum": np.zeros(9)},
    ],
)
def test_damaged_arrays_are_refused(damage):
    arrays = observe([(0, np.ones(3)), (1, np.ones(3))]).to_arrays()
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.from_arrays(arrays | damage)
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.from_arrays({k: v for k, v in arrays.items() if k not in damage})


def test_frozen_histograms_do_not_follow_later_updates():
    statistics = observe([(0, np.ones(3))])
    histogram = statistics.histogram
    statistics.update(1, np.full(5, 2.0))
    assert histogram.total == 3
    assert statistics.histogram.total == 8
    with pytest.raises(ValueError, match="read-only"):
        histogram.counts[0] = 1
    with pytest.raises(ValueError, match="fraction"):
        histogram.quantile(1.5)


@pytest.mark.parametrize("size", [76_800, 153_600, 1_204_224])
def test_tails_are_counted_element_by_element(size):
    """All bins beyond those of the stretches read hold exactly their elements."""
    array = np.random.default_rng(0).standard_t(5, size).astype(np.float32)
    statistics = Statistics(ALL)
    statistics.update(3, array)
    histogram = statistics.histogram
    length, top = stretches(size, statistics.limit)
    ordered = np.sort(array)
    for level in (top // 2, top // 10):
        for bound in (ordered[-1 - level], -ordered[level]):
            high = bound == ordered[-1 - level]
            edges = histogram.edges_low if high else -histogram.edges_high
            beyond = edges > bound
            edge = edges[beyond].min()
            exact = (array >= edge).sum() if high else (array <= -edge).sum()
            assert histogram.counts[beyond].sum() == exact
    assert size % length == 0


@pytest.mark.parametrize("level", [99.9, 99.99])
@pytest.mark.parametrize("freedom", [5, 30])
def test_percentiles_of_large_tensors_lie_within_one_percent(level, freedom):
    rng = np.random.default_rng(1)
    arrays_ = [rng.standard_t(freedom, (24, 80, 80)).astype(np.float32) for _ in range(8)]
    statistics = Statistics(ALL)
    for index, array in enumerate(arrays_):
        statistics.update(index, array)
    exact = np.quantile(np.concatenate([a.ravel() for a in arrays_]), level / 100)
    assert statistics.histogram.quantile(level / 100) == pytest.approx(exact, rel=0.01)


def test_zeros_are_no_tail():
    """Also where subnormal numbers are flushed to zero; nothing is counted twice."""
    array = np.maximum(np.random.default_rng(0).standard_normal(150_000), 0.0).astype(np.float32)
    statistics = Statistics(ALL)
    statistics.update(0, array)
    assert statistics.histogram.total == pytest.approx(array.size, rel=1e-3)


def test_a_size_without_a_fitting_divisor_has_no_stretches():
    assert stretches(1_000_003, 2**15) == (1_000_003, 0)
    assert stretches(counted_whole(2**15), 2**15)[1] == 0
