"""The frontier holds what nothing beats, and only that; a limit picks of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import RecipeError
from edgeq.tuning.frontier import Figures, dominates, dominators
from edgeq.tuning.limits import DROP, LATENCY, SIZE, parse_limit, pick
from edgeq.tuning.moves import Standing
from edgeq.tuning.rungs import spread_rungs
from edgeq.validation.points import ORIGINAL, Point, PointTime
from edgeq.validation.verdict import Score

NUMBERS = st.one_of(st.integers(0, 4).map(float), st.floats())
FIGURES = st.lists(st.builds(Figures, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=12)


def point(name, score, ratio, size, scheme="int8", **more):
    time = PointTime(10.0 * ratio, 10.0, ratio, 1)
    return Point(
        name, "made", scheme, Score("top1", 0.8, score), 20.0, time, size, size / 1000, **more
    )


FP32 = point(ORIGINAL, 0.8, 1.0, 1000, ORIGINAL)
FAST = point("fast", 0.7, 0.4, 260)
CLOSE = point("close", 0.79, 0.6, 300)
SMALL = point("small", 0.75, 1.2, 250)
POINTS = (FP32, FAST, CLOSE, SMALL)


@given(FIGURES)
def test_nothing_on_the_frontier_is_dominated(figures):
    kept = [f for f, by in zip(figures, dominators(figures), strict=True) if by is None]
    assert kept
    assert not any(dominates(other, each) for each in kept for other in figures)


@given(FIGURES)
def test_all_that_is_left_out_is_dominated_by_something_on_the_frontier(figures):
    found = dominators(figures)
    for each, by in zip(figures, found, strict=True):
        if by is not None:
            assert found[by] is None
            assert dominates(figures[by], each)


@given(FIGURES)
def test_nothing_dominates_its_like(figures):
    assert not any(dominates(each, each) for each in figures)


def test_what_is_not_a_number_is_the_worst_there_is():
    assert dominates(Figures(0.0, 1.0, 1.0), Figures(math.nan, 1.0, 1.0))


@pytest.mark.parametrize(
    ("kind", "text", "amount", "relative"),
    [
        (DROP, "0.5%", 0.005, True),
        (DROP, "0.01", 0.01, False),
        (LATENCY, "12.5", 12.5, False),
        (LATENCY, "2 s", 2000.0, False),
        (LATENCY, "60%", 0.6, True),
        (LATENCY, "0.6x", 0.6, True),
        (SIZE, "2000", 2000.0, False),
        (SIZE, "2MB", 2e6, False),
        (SIZE, ".3x", 0.3, True),
    ],
)
def test_limits_are_read_with_their_units(kind, text, amount, relative):
    limit = parse_limit(kind, text)
    assert (limit.kind, limit.relative) == (kind, relative)
    assert limit.amount == pytest.approx(amount)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(LATENCY, "2MB"), (SIZE, "12 ms"), (SIZE, "-1"), (LATENCY, "nan"), (SIZE, ""), (DROP, "1x")],
)
def test_what_is_no_limit_is_refused_with_its_option(kind, text):
    with pytest.raises(RecipeError, match=f"--{kind.replace('_', '-')}"):
        parse_limit(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "chosen"),
    [
        (DROP, "0.05", "close"),
        (DROP, "0.1", "fast"),
        (DROP, "12.5%", "fast"),
        (LATENCY, "8", "close"),
        (LATENCY, "50%", "fast"),
        (SIZE, "0.29x", "small"),
        (SIZE, "300", "close"),
    ],
)
def test_the_fastest_or_the_most_accurate_under_the_limit_is_picked(kind, text, chosen):
    assert pick(POINTS, parse_limit(kind, text)).point.name == chosen


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (DROP, "0", "close is nearest with a drop of 0.0100, a drop of 0.0000 is allowed"),
        (LATENCY, "3.5", "fast is nearest with 4 ms, 3.5 ms is allowed"),
        (SIZE, "20%", "small is nearest with 0.25 times that of fp32"),
    ],
)
def test_where_nothing_keeps_to_it_the_nearest_is_named_and_never_the_original(kind, text, said):
    picked = pick(POINTS, parse_limit(kind, text))
    assert picked.point is None
    assert said in picked.reason


def test_what_misses_a_threshold_is_not_picked_whatever_its_score():
    broken = point("broken", 0.8, 0.1, 100, failures=("output 'z': far off",))
    assert pick((*POINTS, broken), parse_limit(DROP, "0.1")).point.name == "fast"
    nothing = pick((FP32, broken), parse_limit(DROP, "0.1"))
    assert nothing.point is None
    assert "far off" in nothing.reason


def test_rungs_are_spread_over_what_they_gain():
    rungs = [Standing((str(i),), freed=1 - 10 ** (-i / 10)) for i in range(1, 21)]
    chosen = spread_rungs(rungs, 4)
    assert [rung.excluded[0] for rung in chosen] == ["5", "10", "15", "20"]
    assert spread_rungs(rungs[:2], 5) == rungs[:2]
    assert spread_rungs(rungs, 0) == []
    assert spread_rungs([], 3) == []
