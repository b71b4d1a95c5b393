"""Sums that the runtime makes are those that numpy makes of the whole values."""

import graphs
import numpy as np
import pytest

from edgeq.graph.meters import Meters
from edgeq.graph.walk import values
from edgeq.runtime.session import Session

ROW = np.array([[1, 2, 3, 4]], np.float32)


def run(model, pairs, sample):
    """Signal and noise of each pair of values, and how many numbers came out."""
    known, meters = values(model), Meters(model)
    for one, other in pairs:
        meters.compare((one, other), known[one], known[other])
    readings = meters.finish()
    found = Session(model, graphs.UNOPTIMIZED).run(sample)
    numbers = {
        key: tuple(float(found[p.output][p.index]) for p in (reading.signal, reading.noise))
        for key, reading in readings.items()
    }
    return numbers, [array.shape for array in found.values()]


def test_signal_and_noise_of_several_pairs():
    text = "n (float[1,4] x) => (float[1,4] z) { y = Abs(x) z = Neg(y) w = Relu(x) }"
    numbers, shapes = run(graphs.build(text), [("x", "w"), ("x", "z"), ("y", "z")], {"x": -ROW})
    assert numbers == {("x", "w"): (30, 30), ("x", "z"): (30, 0), ("y", "z"): (30, 120)}
    # Two signals and three differences: nothing else leaves the runtime.
    assert shapes == [(5,)]


@pytest.mark.parametrize("taken", [True, False])
def test_what_a_branch_that_is_not_taken_would_measure_is_zero(taken):
    text = """n (float[1,4] x, bool c) => (float[1,4] z) {
        y = Neg(x)
        z = If (c) <
            then_branch = t () => (float[1,4] a) { b = Add(x, x) a = Neg(b) },
            else_branch = e () => (float[1,4] d) { d = Identity(x) }
        >
    }"""
    sample = {"x": ROW, "c": np.array(taken)}
    numbers, _ = run(graphs.build(text), [("x", "y"), ("b", "a"), ("x", "a")], sample)
    assert numbers["x", "y"] == (30, 120)
    assert numbers["b", "a"] == ((120, 480) if taken else (0, 0))
    assert numbers["x", "a"] == ((30, 270) if taken else (0, 0))


@pytest.mark.parametrize("trips", [3, 0])
def test_iterations_of_a_loop_add_up(trips):
    text = """n (float[1,4] x, int64 trips, bool go) => (float[1,4] z) {
        z = Loop (trips, go, x) <
            body = b (int64 i, bool c, float[1,4] s) => (bool d, float[1,4] t) {
                d = Identity(c)
                u = Neg(s)
                t = Add(s, s)
            }
        >
    }"""
    sample = {"x": ROW, "trips": np.array(trips, np.int64), "go": np.array(True)}
    numbers, shapes = run(graphs.build(text), [("s", "u")], sample)
    signal = sum(30 * 4**i for i in range(trips))
    assert numbers == {("s", "u"): (signal, 4 * signal)}
    assert shapes == [(2,)]


def test_an_input_is_computed_by_no_node():
    model = graphs.build("n (float[1,4] x) => (float[1,4] z) { z = Neg(x) }")
    known = values(model)
    with pytest.raises(ValueError, match="computed by no node"):
        Meters(model).compare("k", known["z"], known["x"])


def test_what_lies_beyond_the_bounds_counts_as_being_at_the_bound():
    model = graphs.build("n (float[1,4] x) => (float[1,4] z) { y = Add(x, x) z = Neg(y) }")
    known, meters = values(model), Meters(model)
    meters.compare("cut", known["x"], known["y"], (-np.inf, 3.0))
    meters.compare("whole", known["x"], known["y"])
    readings = meters.finish()
    found = Session(model, graphs.UNOPTIMIZED).run({"x": ROW})
    energies = [
        float(found[p.output][p.index])
        for reading in readings.values()
        for p in (reading.signal, reading.noise)
    ]
    assert energies == [1 + 4 + 9 + 9, 1 + 1, 30, 30]
