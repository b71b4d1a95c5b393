"""Thresholds and the sentences about those that were missed."""

import numpy as np
import pytest

from edgeq.errors import RecipeError
from edgeq.metrics import Fidelity
from edgeq.metrics.fidelity import FidelityMeter
from edgeq.runtime.latency import LatencyComparison, Timing
from edgeq.validation.advice import warnings_about
from edgeq.validation.verdict import DEFAULT, Score, Thresholds, judge, parse_drop

TIMING = Timing(1.0, 1.0, 1.0)


def closeness(sqnr=30.0, cosine=0.999, agreement=0.98, finite=True):
    return {"y": Fidelity(sqnr, cosine, 0.1, agreement, finite)}


def latency(*speedups):
    return [LatencyComparison(1, TIMING, TIMING, speedup, 5) for speedup in speedups]


def test_a_good_candidate_passes():
    verdict = judge(DEFAULT, closeness())
    assert (verdict.passed, verdict.text, verdict.failures) == (True, "good", ())


@pytest.mark.parametrize(
    ("thresholds", "outputs", "sentence"),
    [
        (DEFAULT, closeness(sqnr=9.9), "output 'y': SQNR 9.9 dB is below 10 dB"),
        (DEFAULT, closeness(cosine=0.94), "output 'y': cosine 0.9400 is below 0.95"),
        (Thresholds(), closeness(finite=False), "NaN, Inf or another shape"),
        (Thresholds(min_agreement=0.99), closeness(), "top-1 agreement 0.9800 is below 0.99"),
    ],
)
def test_every_missed_threshold_is_one_sentence(thresholds, outputs, sentence):
    verdict = judge(thresholds, outputs)
    assert (verdict.passed, verdict.text) == (False, "failed")
    (failure,) = verdict.failures
    assert sentence in failure


def test_a_threshold_that_is_met_exactly_is_met():
    exact = Thresholds(min_sqnr=30.0, min_cosine=0.999, min_agreement=0.98, min_speedup=1.5)
    assert judge(exact, closeness(), latency(1.5)).passed


def test_agreement_is_asked_of_outputs_with_classes_only():
    assert judge(Thresholds(min_agreement=1.0), closeness(agreement=None)).passed


def test_the_best_thread_count_decides_on_the_speed_up():
    wanted = Thresholds(min_speedup=2.0)
    assert judge(wanted, {}, latency(0.5, 2.1)).passed
    (failure,) = judge(wanted, {}, latency(0.5, 1.9)).failures
    assert failure == "speed-up 1.90 is below 2"


@pytest.mark.parametrize(
    ("drop", "relative", "score", "passes"),
    [
        (0.02, False, Score("m", 0.90, 0.88), True),
        (0.01, False, Score("m", 0.90, 0.88), False),
        (0.03, True, Score("m", 0.90, 0.88), True),
        (0.01, True, Score("m", 0.90, 0.88), False),
        (0.0, False, Score("m", 0.90, 0.95), True),
        (0.5, False, Score("m", 10.0, 10.4, higher_is_better=False), True),
        (0.5, False, Score("m", 10.0, 11.0, higher_is_better=False), False),
        (0.05, True, Score("m", -10.0, -10.4), True),
    ],
)
def test_a_drop_is_a_loss_whichever_way_is_better(drop, relative, score, passes):
    wanted = Thresholds(max_drop=drop, relative_drop=relative)
    assert judge(wanted, {}, score=score).passed is passes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0.5%", (0.005, True)), ("0.01", (0.01, False)), (" 2 % ", (0.02, True)), ("0", (0, False))],
)
def test_drops_are_read(text, wanted):
    assert parse_drop(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "%", "abc", "-1", "nan", "inf", "1%%"])
def test_what_is_no_drop_is_refused(text):
    with pytest.raises(RecipeError, match="is no drop"):
        parse_drop(text)


def test_a_reference_without_any_finite_number_proves_nothing():
    meter = FidelityMeter()
    meter.add(np.full((2, 3), np.nan, np.float32), np.full((2, 3), np.nan, np.float32))
    lost = meter.result()
    assert not lost.measured
    assert "check the data" in judge(Thresholds(), {"y": lost}).failures[0]
    assert judge(Thresholds(), {"y": lost, "z": FidelityMeter().result()}).passed
    assert any(
        "no finite number" in said for said in warnings_about({"y": lost}, None, (), (), None, None)
    )
