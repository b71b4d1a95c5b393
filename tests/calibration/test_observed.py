"""Small arrays are taken in together, in a thread, and to the bit as one by one."""

import threading

import numpy as np
import pytest

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.observed import Behind, Observed

ALL = frozenset(StatisticKind)


def assert_equal(left, right):
    wanted = right.to_arrays()
    for key, array in left.to_arrays().items():
        np.testing.assert_array_equal(array, wanted[key])


@pytest.mark.parametrize("size", [1, 7, 1023, 1024, 3000, 16_384])
def test_rows_are_taken_in_to_the_bit_as_one_by_one(size):
    rng = np.random.default_rng(size)
    arrays = [rng.standard_normal(size).astype(np.float32) for _ in range(70)]
    observed, single = Observed(["v"], ALL), Statistics(ALL)
    for index, array in enumerate(arrays):
        observed.see(index, {"v": array}, {})
        single.update(index, array)
    observed.settle()
    assert_equal(observed.statistics["v"], single)


def test_sizes_may_change():
    arrays = [np.arange(n, dtype=np.float32) for n in (3, 3, 5, 0, 0, 3, 100_000)]
    observed, single = Observed(["v"], ALL), Statistics(ALL)
    for index, array in enumerate(arrays):
        observed.see(index, {"v": array}, {})
        single.update(index, array)
    observed.settle()
    assert_equal(observed.statistics["v"], single)


def test_a_value_that_is_not_finite_drops_out_alone():
    observed = Observed(["good", "bad"], ALL)
    for index in range(3):
        each = np.float32([1.0, np.nan if index == 1 else 2.0])
        observed.see(index, {"good": np.ones(2, np.float32), "bad": each}, {})
    observed.settle()
    assert observed.infinite == {"bad"}
    assert observed.statistics.keys() == {"good"}


def test_jobs_run_in_their_order_elsewhere():
    done, behind = [], Behind()
    for number in range(20):
        behind.do(lambda n=number: done.append((n, threading.current_thread().name)))
    behind.wait()
    assert [number for number, _ in done] == list(range(20))
    assert threading.current_thread().name not in {name for _, name in done}


def test_what_a_job_raises_is_raised_at_the_next_call():
    behind = Behind()
    behind.do(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        behind.do(lambda: None)
    behind.wait()
