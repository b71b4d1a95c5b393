"""What models run is told apart from all other time."""

import time

import graphs
import pytest

from edgeq.errors import DataError
from edgeq.runtime.running import RUNNING
from edgeq.runtime.session import Session


def model():
    text = "n (float[1,64,64,64] x) => (float[1,64,64,64] z) { z = Conv<pads=[1,1,1,1]>(x, w) }"
    return graphs.build(text, w=graphs.numbers(0, 64, 64, 3, 3))


def test_runs_count_and_nothing_else():
    session, sample = Session(model()), graphs.feeds(model(), 1)[0]
    before = RUNNING.seconds
    time.sleep(0.01)
    assert RUNNING.seconds == before
    begun = time.perf_counter()
    session.run(sample)
    assert 0.0 < RUNNING.seconds - before <= time.perf_counter() - begun


def test_a_run_that_fails_counts():
    session = Session(model())
    before = RUNNING.seconds
    with pytest.raises(DataError):
        session.run({"x": graphs.numbers(0, 1, 3, 4, 4)})
    assert RUNNING.seconds > before
