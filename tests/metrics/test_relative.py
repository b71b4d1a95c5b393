"""Metrics that need no labels: fp32 has 1, the worst output counts."""

import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.metrics import FidelityMeter
from edgeq.metrics.relative import RELATIVE_METRICS, relative_metric


def closeness(want, got):
    meter = FidelityMeter()
    meter.add(np.asarray(want, np.float32), np.asarray(got, np.float32))
    return meter.result()


@pytest.mark.parametrize("metric", RELATIVE_METRICS, ids=lambda metric: metric.name)
def test_fp32_itself_has_one(metric):
    rows = [[1.0, 2.0], [4.0, 3.0]]
    assert metric({"a": closeness(rows, rows)}) == pytest.approx(1.0)


def test_agreement_is_the_fraction_of_rows_with_the_same_class():
    found = closeness([[1.0, 2.0], [4.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]])
    same = closeness([[1.0, 2.0]], [[1.0, 2.0]])
    assert relative_metric("agreement")({"a": found, "b": same}) == 0.5


def test_signal_is_what_is_not_noise():
    found = closeness([10.0, 0.0], [9.0, 0.0])
    assert relative_metric("signal")({"a": found}) == pytest.approx(0.99)


def test_numbers_that_are_not_finite_have_none():
    found = closeness([1.0, 2.0], [np.nan, 2.0])
    assert all(metric({"a": found}) == 0.0 for metric in RELATIVE_METRICS)


def test_agreement_needs_classes():
    with pytest.raises(DataError, match="no output has classes"):
        relative_metric("agreement")({"a": closeness([1.0], [1.0])})


def test_a_model_without_numbers_keeps_no_budget():
    with pytest.raises(DataError, match="array of numbers"):
        relative_metric("signal")({})


def test_other_names_are_no_relative_metrics():
    assert relative_metric("top1") is None
