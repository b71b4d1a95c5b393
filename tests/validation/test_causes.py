"""Causes are told with the figure that shows them, and with a way out."""

from dataclasses import replace

import pytest

from edgeq.validation.causes import Symptoms, explain, explain_alone, explain_value
from edgeq.validation.figures import ValueFigures, WeightFigures

PLAIN = ValueFigures(
    "x", -1.0, 1.0, most=0.9, rms=0.4, bounds=(-1.0, 1.0), step=0.008, channels=(1.0, 0.8)
)
WEIGHT = WeightFigures("w", 40.0, 4.0)


def symptoms(figures=PLAIN, **changes):
    given = Symptoms("Conv", 15.0, 30.0, 16.0, {"x": 0.9}, 0.1, {"x": figures}, {"x": 18.0}, WEIGHT)
    return replace(given, **changes)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"cut": 0.8, "beyond": 0.032, "low": -7.0}, "saturation", "3.20% of x lie beyond"),
        ({"channels": (200.0, 0.1)}, "channels", "the middle one 0.1, 2000 times less"),
        ({"most": 0.01}, "outliers", "reaches 1, 99.9 % of it lie within 0.01"),
        ({"low": 0.0, "high": 0.0, "most": 0.0}, "dead", "x was zero in all samples"),
        ({"rms": 0.01}, "tiny", "typically 0.01, in steps of 0.008"),
    ],
)
def test_what_is_wrong_with_the_value_that_costs_most(changes, kind, told):
    cause = explain(symptoms(replace(PLAIN, **changes)))
    assert cause.kind == kind
    assert told in cause.text
    assert cause.remedy


@pytest.mark.parametrize(
    ("changes", "own_db", "kind", "told"),
    [
        ({"cut": 0.8, "beyond": 0.032, "low": -7.0}, 18.0, "saturation", "3.20% of x lie beyond"),
        ({"channels": (200.0, 0.1)}, 18.0, "channels", "the middle one 0.1, 2000 times less"),
        ({}, 40.0, "cancels", "rounded at 40.0 dB, but the results of conv are small"),
        ({}, 20.0, "bits", "typically 0.4, up to 1, in steps of 0.008"),
    ],
)
def test_what_is_wrong_with_a_value(changes, own_db, kind, told):
    cause = explain_value(replace(PLAIN, **changes), own_db, 18.0, "conv")
    assert cause.kind == kind
    assert told in cause.text
    assert cause.remedy


def test_a_value_that_nothing_reads_in_floats_has_too_few_bits():
    assert explain_value(PLAIN, 20.0, None, "").kind == "bits"


def test_outliers_beyond_the_range_cost_no_resolution():
    figures = replace(PLAIN, low=-100.0, most=0.9, cut=0.1, beyond=0.001)
    assert explain(symptoms(figures)).kind == "bits"


def test_large_numbers_that_cancel():
    cause = explain(symptoms(own_db={"x": 40.0}))
    assert cause.kind == "cancels"
    assert "x is rounded at 40.0 dB" in cause.text


@pytest.mark.parametrize(
    ("figures", "kind", "told"),
    [
        (replace(WEIGHT, spread=25.0), "weight_spread", "reaches 25 times its typical size"),
        (WEIGHT, "weight_bias", "shifts the results"),
        (replace(WEIGHT, sqnr_db=17.0), "weight", "at 17.0 dB"),
        (None, "weight", "rounding its weight"),
    ],
)
def test_what_is_wrong_with_the_weight(figures, kind, told):
    cause = explain(symptoms(weight=figures, weight_share=0.95))
    assert cause.kind == kind
    assert told in cause.text


def test_errors_that_come_from_before():
    cause = explain(symptoms(before_db=12.0, alone_db=30.0))
    assert cause.kind == "inherited"
    assert "what it reads is at 12.0 dB, alone 30.0 dB" in cause.text
    assert explain(symptoms(alone_db=None)).kind == "inherited"
    assert explain_alone(symptoms(before_db=12.0, alone_db=30.0)).kind != "inherited"


def test_numbers_that_are_not_finite():
    assert explain(symptoms(sqnr_db=-200.0)).kind == "not_finite"


def test_dynamic_layers():
    rows = replace(PLAIN, rows=(80.0, 0.5), bounds=None)
    cause = explain(symptoms(rows, shares={}, dynamic=True))
    assert cause.kind == "row"
    assert "one row of x reaches 80, the middle one 0.5" in cause.text
    channels = replace(PLAIN, channels=(90.0, 1.0), bounds=None)
    assert explain(symptoms(channels, shares={}, dynamic=True)).kind == "channels"
    assert explain(symptoms(shares={}, dynamic=True)).kind == "bits"


def test_where_nothing_stands_out_the_largest_part_is_named():
    assert "90% of its error come from x, which is rounded at 18.0 dB" in explain(symptoms()).text
    assert explain(symptoms(values={}, shares={"y": 1.0}, weight=None)).kind == "bits"
