"""Two sessions are timed in turn."""

import numpy as np
import pytest

from edgeq.runtime import latency
from edgeq.runtime.latency import compare_latency


class Fake:
    """Takes a set time on a set clock."""

    def __init__(self, clock, seconds, log):
        self.clock, self.seconds, self.log = clock, seconds, log

    def run(self, sample):
        self.log.append((self.seconds, sample))
        self.clock.now += self.seconds


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(latency, "time", made)
    return made


def compared(clock, slow=0.2, quick=0.1, samples=("a", "b", "c"), **options):
    log = []
    found = compare_latency(
        Fake(clock, slow, log), Fake(clock, quick, log), samples, threads=3, **options
    )
    return found, log


def test_times_and_their_ratio_are_medians_in_milliseconds(clock):
    found, _ = compared(clock)
    assert found.fp32.median_ms == pytest.approx(200)
    assert found.candidate.p25_ms == pytest.approx(100)
    assert found.candidate.p75_ms == pytest.approx(100)
    assert found.speedup == pytest.approx(2.0)
    assert found.threads == 3


def test_both_are_warmed_up_and_take_turns_at_being_first(clock):
    _, log = compared(clock, max_rounds=4)
    order = [seconds for seconds, _ in log]
    assert order == [0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.2]


def test_both_run_the_same_sample_in_a_round_and_all_samples_in_turn(clock):
    _, log = compared(clock, max_rounds=4)
    rounds = [sample for _, sample in log[4:]]
    assert rounds == ["a", "a", "b", "b", "c", "c", "a", "a"]


def test_rounds_end_with_the_time_but_not_before_the_fewest(clock):
    assert compared(clock, seconds=3.1)[0].rounds == 11
    assert compared(clock, seconds=0.5)[0].rounds == 5
    assert compared(clock, seconds=1e9)[0].rounds == 50


def test_a_disturbed_round_moves_neither_median_nor_speedup(clock):
    class Jittery(Fake):
        def run(self, sample):
            super().run(sample)
            self.clock.now += 5.0 if len(self.log) == 9 else 0.0

    log = []
    found = compare_latency(
        Jittery(clock, 0.2, log), Jittery(clock, 0.1, log), ["a"], threads=1, seconds=100
    )
    assert found.speedup == pytest.approx(2.0)
    assert np.isclose(found.fp32.median_ms, 200)


def test_runs_that_last_long_are_repeated_less(clock):
    long, _ = compared(clock, slow=4.0, quick=2.0, min_rounds=9, seconds=1.5)
    short, _ = compared(clock, min_rounds=9, seconds=1.5)
    assert (long.rounds, short.rounds) == (3, 9)
