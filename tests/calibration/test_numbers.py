import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.numbers import MOST, NumberCounter
from edgeq.errors import CalibrationError

KINDS = frozenset({StatisticKind.HISTOGRAM})


def observed(arrays, start=0):
    statistics = Statistics(KINDS)
    for index, array in enumerate(arrays, start):
        statistics.update(index, np.asarray(array, np.float32))
    return statistics


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=30), min_size=1, max_size=6))
def test_few_numbers_are_counted_one_by_one(samples):
    values, counts = np.unique(np.concatenate(samples), return_counts=True)
    found = observed(samples).distribution
    assert np.array_equal(found.edges_low, values)
    assert np.array_equal(found.edges_high, values)
    assert np.array_equal(found.counts, counts)


def test_a_picture_keeps_its_grid_where_it_is_subsampled():
    rng = np.random.default_rng(0)
    pictures = [(rng.integers(0, 256, (3, 224, 224)) - 127) / 128 for _ in range(3)]
    found = observed(pictures).distribution
    assert np.array_equal(found.edges_low, (np.arange(256) - 127) / 128)
    assert found.total == pytest.approx(3 * pictures[0].size, rel=0.01)


@pytest.mark.parametrize("excess", [0, 1])
def test_more_numbers_than_that_leave_the_bins(excess):
    statistics = observed(np.arange(MOST + excess).reshape(-1, 1))
    assert (statistics.distribution is statistics.histogram) == bool(excess)
    again = Statistics.from_arrays(statistics.to_arrays())
    assert (again.distribution is again.histogram) == bool(excess)


@pytest.mark.parametrize("numbers", [100, MOST, 2 * MOST])
def test_shards_merge_to_the_bit(numbers):
    rng = np.random.default_rng(1)
    samples = [rng.integers(0, numbers, 5000) for _ in range(12)]
    whole = observed(samples).to_arrays()
    shards = [observed(samples[k : k + 3], k) for k in range(0, 12, 3)]
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        first, *rest = (shards[k] for k in order)
        for shard in rest:
            first = first.merge(shard)
        merged = first.to_arrays()
        assert all(np.array_equal(array, merged[key]) for key, array in whole.items())


def test_both_zeros_are_one_number():
    found = observed([[0.0, -0.0, 1.0]]).distribution
    assert found.edges_low.tolist() == [0.0, 1.0]
    assert found.counts.tolist() == [2, 1]


def test_extrema_that_were_skipped_count_once():
    counter = NumberCounter()
    counter.add(np.array([1.0, 2.0], np.float32), 3)
    values, counts = counter.points(-1.0, 5.0)
    assert values.tolist() == [-1.0, 1.0, 2.0, 5.0]
    assert counts.tolist() == [1, 3, 3, 1]


def test_statistics_of_older_tables_know_no_numbers():
    statistics = observed([[1, 2, 3]])
    arrays = {k: v for k, v in statistics.to_arrays().items() if not k.startswith("number")}
    old = Statistics.from_arrays(arrays)
    assert old.distribution is old.histogram
    assert old.merge(observed([[1.0]], 1)).to_arrays()["numbers_known"] == np.array(False)


@pytest.mark.parametrize(
    ("number", "count"),
    [([2, 1], [1, 1]), ([1, 2], [1, -1]), ([0x7F800000], [1]), ([1], [1, 2])],
    ids=["order", "negative", "infinite", "lengths"],
)
def test_damaged_numbers_are_refused(number, count):
    arrays = observed([[1.0, 2.0]]).to_arrays()
    arrays |= {"number": np.array(number, np.uint32), "number_count": np.array(count, np.int64)}
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.from_arrays(arrays)
