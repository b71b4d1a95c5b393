"""What the guide tries next, and what it recommends."""

import math

import pytest

from edgeq.tuning.guiding import Climbed, Rung, Schedule, Subject, beaten_by, ladder, recommended


def walked(subject, good):
    """Names of the rungs tried where those of ``good`` keep to the budget."""
    steps, tried, holds = ladder(subject), [], None
    while True:
        try:
            rung = next(steps) if holds is None else steps.send(holds)
        except StopIteration:
            return tried
        tried.append(rung.name)
        holds = rung.name in good


LANGUAGE = Subject(language=True, cached=True, has_data=True, max_drop="2%")
PICTURES = Subject(language=False, cached=False, has_data=True, max_drop="2%")


def test_where_four_bits_are_borne_two_are_tried_and_then_the_cache():
    good = {"w4", "w8", "w4 kv-cache float32", "w4 kv-cache int8"}
    assert walked(LANGUAGE, good) == [
        "w4", "w8", "w2", "w4 kv-cache float32", "w4 kv-cache int8", "w4 kv-cache int4",
    ]  # fmt: skip


def test_where_they_are_not_more_bits_are_tried():
    assert walked(LANGUAGE, {"w8"}) == [
        "w4", "w8", "w4 target-bits 6", "w8 kv-cache float32",
    ]  # fmt: skip
    between = {"w8", "w4 target-bits 6"}
    assert walked(LANGUAGE, between)[-1] == "w4 target-bits 6 kv-cache float32"


def test_where_eight_bits_are_not_borne_nothing_but_dynamic_is_left():
    no_cache = Subject(language=True, cached=False, has_data=True, max_drop="2%")
    assert walked(no_cache, set()) == ["w4", "w8", "w4 target-bits 6", "dynamic"]


def test_without_data_or_cache_nothing_is_done_about_it():
    no_data = Subject(language=True, cached=True, has_data=False, max_drop="2%")
    assert walked(no_data, {"w4", "w4 kv-cache float32"})[-1] == "w4 kv-cache float32"
    no_cache = Subject(language=True, cached=False, has_data=True, max_drop="2%")
    assert walked(no_cache, {"w4"}) == ["w4", "w8", "w2"]


def test_other_models_begin_with_int8_and_search_where_that_fails():
    assert walked(PICTURES, {"int8", "w8"}) == ["int8", "dynamic", "w8", "w4", "fp16"]
    assert walked(PICTURES, set())[:2] == ["int8", "int8 max-drop 2%"]


def climbed(name, *, holds=True, drop=0.0, ratio=1.0, size=100, cache=0):
    return Climbed(name, name, holds, 1.0 - drop, drop, ratio, ratio, size, cache)


ORIGINAL = climbed("fp32")


def test_the_least_time_times_memory_is_recommended_among_the_good():
    fast, small = climbed("fast", ratio=0.5, size=60), climbed("small", ratio=0.9, size=25)
    bad = climbed("bad", holds=False, ratio=0.1, size=5)
    assert recommended([ORIGINAL, fast, small, bad]) is small


def test_the_cache_is_memory():
    plain = climbed("plain", ratio=0.5, size=30, cache=400)
    stored = climbed("stored", ratio=0.6, size=30, cache=100)
    original = climbed("fp32", size=100, cache=400)
    assert recommended([original, plain, stored]) is stored


@pytest.mark.parametrize("ratio", [2.0, math.nan])
def test_nothing_is_recommended_that_does_not_beat_the_original(ratio):
    assert recommended([ORIGINAL, climbed("slow", ratio=ratio, size=100)]) is None


def test_what_is_nowhere_better_is_beaten():
    better, worse = climbed("a", drop=0.1, ratio=0.5, size=10), climbed("b", drop=0.2, size=10)
    assert beaten_by([ORIGINAL, better, worse]) == {"b": "a"}


def test_what_would_not_be_through_in_time_is_not_begun():
    now = [0.0]
    schedule = Schedule(100.0, lambda: now[0])
    learnt, searched, quick = Rung("w4", {}), Rung("w4", {"target_bits": 6.0}), Rung("w8", {})
    assert schedule.fits(searched)
    with schedule.running(learnt):
        now[0] = 45.0
    assert schedule.left == 55.0
    assert schedule.fits(learnt)
    assert not schedule.fits(searched)
    now[0] = 70.0
    assert not schedule.fits(learnt)
    assert schedule.fits(quick)
    now[0] = 200.0
    assert schedule.left == 0.0
    assert not schedule.fits(quick)
    assert schedule.fits(quick, found=False)
    assert not schedule.fits(learnt, found=False)
