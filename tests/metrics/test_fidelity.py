"""Closeness of two outputs, accumulated sample by sample."""

import numpy as np
import pytest

from edgeq.metrics import FidelityMeter
from edgeq.metrics.fidelity import CLOSE_DB, MAX_DB


def closeness(*pairs):
    meter = FidelityMeter()
    for want, got in pairs:
        meter.add(np.asarray(want), np.asarray(got))
    return meter.result()


def test_equal_outputs_are_as_close_as_can_be():
    found = closeness(([[1.0, 2.0]], [[1.0, 2.0]]))
    assert (found.sqnr_db, found.cosine, found.max_abs_error) == (MAX_DB, 1.0, 0.0)
    assert found.top1_agreement == 1.0


def test_sqnr_is_the_ratio_of_all_energies_in_decibels():
    found = closeness(([3.0, 0.0], [3.0, 0.1]), ([0.0, 4.0], [0.2, 4.0]))
    assert found.sqnr_db == pytest.approx(10 * np.log10(25 / 0.05))
    assert found.max_abs_error == pytest.approx(0.2)


def test_agreement_counts_rows_whose_largest_element_stands_at_the_same_place():
    found = closeness(([[1.0, 2.0], [5.0, 3.0]], [[1.0, 2.5], [2.0, 3.0]]))
    assert found.top1_agreement == 0.5


def test_of_class_numbers_the_share_that_differs_counts_and_not_the_distance():
    far, near = np.arange(100), np.arange(100)
    far[:10] += 50
    near[:10] += 1
    assert closeness((np.arange(100), far)).sqnr_db == pytest.approx(10.0)
    assert closeness((np.arange(100), near)).sqnr_db == pytest.approx(10.0)


def test_of_class_numbers_the_equal_ones_agree():
    assert closeness(([[3, 1, 2]], [[0, 0, 2]])).top1_agreement == pytest.approx(1 / 3)
    assert closeness(([[3, 1]], [[0, 0]])).top1_agreement == 0.0
    assert closeness(([5], [5])).top1_agreement == 1.0


@pytest.mark.parametrize("got", [[np.nan, 1.0], [np.inf, 1.0], [[1.0, 1.0]]])
def test_numbers_that_are_not_finite_or_of_another_shape_are_told(got):
    assert not closeness(([1.0, 1.0], got)).finite


def test_infinities_of_the_reference_are_no_fault_of_the_candidate():
    found = closeness(([-np.inf, 2.0], [-np.inf, 2.0]))
    assert found.finite
    assert found.sqnr_db == MAX_DB


def test_nothing_compared_is_nothing_wrong():
    assert closeness().sqnr_db == MAX_DB


def test_one_sample_that_tips_over_does_not_decide_the_typical_sample():
    close, tipped = ([1.0, 0.0], [1.0, 0.0001]), ([1.0, 0.0], [0.0, 1.0])
    found = closeness(*[close] * 9, tipped)
    assert found.sqnr_db < 8
    assert found.typical_db == pytest.approx((9 * CLOSE_DB + 10 * np.log10(1 / 2)) / 10)


def test_what_other_samples_will_hardly_fall_short_of_is_lower_the_more_samples_differ():
    alike = closeness(*[([1.0, 0.0], [0.9, 0.0])] * 4)
    assert alike.sure_db == pytest.approx(alike.sqnr_db)
    mixed = closeness(*[([1.0, 0.0], [0.9, 0.0])] * 3, ([1.0, 0.0], [0.0, 1.0]))
    noise = 3 * 0.01 + 2.0
    error = 2 * np.std([0.01, 0.01, 0.01, 2.0])
    assert mixed.sure_db == pytest.approx(10 * np.log10(4 / (noise + error)))


@pytest.mark.parametrize("got", [[[0, 3], [0, 3]], [[0, 3], [0, 3], [4, 0], [3, 0]]])
def test_what_one_of_both_has_more_of_is_noise(got):
    want = [[0.0, 3.0], [0.0, 3.0], [4.0, 0.0]]
    found = closeness((want, np.asarray(got, np.float64)))
    missed = 16 if len(got) < 3 else 9
    assert found.finite
    assert found.sqnr_db == pytest.approx(10 * np.log10(34 / missed))
    assert found.top1_agreement == pytest.approx(2 / 3 if len(got) < 3 else 3 / 4)


def test_class_numbers_that_are_missing_are_not_equal():
    found = closeness(([0, 1, 0, 0], [0, 1]))
    assert found.top1_agreement == pytest.approx(1 / 2)
    assert found.sqnr_db == pytest.approx(10 * np.log10(4 / 2))
