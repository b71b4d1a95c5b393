"""One pass over the samples, in constant memory, whatever their shapes and branches."""

import gc
import tracemalloc

import graphs
import models
import numpy as np
import pytest

from edgeq.calibration import StatisticKind
from edgeq.calibration.collector import Collector, SampleStream, collect
from edgeq.errors import CalibrationError, DataError
from edgeq.graph import loader

EXTREMA = frozenset({StatisticKind.EXTREMA})
ALL = frozenset(StatisticKind)


def unary(op="Sin"):
    return graphs.build(f"n (float[N,M] x) => (float[N,M] z) {{ y = {op}(x) z = Neg(y) }}")


def test_inputs_inner_values_and_outputs_are_observed():
    samples = [{"x": np.float32([[0.5, 1.0]])}, {"x": np.float32([[-1.0, 0.0]])}]
    found = collect(unary(), ["x", "y", "z"], samples, ALL)
    assert found.samples == 2
    assert (found.statistics["x"].minimum, found.statistics["x"].maximum) == (-1.0, 1.0)
    assert found.statistics["y"].maximum == pytest.approx(np.sin(1.0))
    assert found.statistics["z"].minimum == pytest.approx(-np.sin(1.0))
    assert all(statistics.count == 4 for statistics in found.statistics.values())


def test_shapes_may_vary_from_sample_to_sample():
    samples = ({"x": np.ones((n, n + 1), np.float32)} for n in (1, 4, 2))
    assert collect(unary(), ["y"], samples, ALL).statistics["y"].count == 2 + 20 + 6


def test_a_model_of_which_only_inputs_are_wanted_is_not_run():
    samples = [{"x": np.float32([[3.0]])}]
    assert collect(unary(), ["x"], samples, EXTREMA).statistics["x"].maximum == 3.0


def test_activations_are_not_kept():
    """Peak memory of 200 samples is that of 64: each has 400 kB of activations."""

    def peak(count):
        samples = ({"x": np.ones((100, 1000), np.float32)} for _ in range(count))
        gc.collect()
        tracemalloc.start()
        collect(unary(), ["x", "y", "z"], samples, ALL, threads=1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    # The kept sample of the inputs ends at 64 of them.
    assert peak(200) < peak(64) * 1.1


@pytest.mark.parametrize(("fed", "name"), [(-1.0, "y"), (np.inf, "x")])
def test_values_that_are_no_numbers_have_no_statistics_and_are_named(fed, name):
    samples = [{"x": np.float32([[1.0]])}, {"x": np.float32([[fed]])}, {"x": np.float32([[2.0]])}]
    found = collect(unary("Log"), ["x", "y"], samples, ALL)
    assert name in found.infinite
    assert name not in found.statistics
    assert found.samples == 3


def test_a_branch_that_no_sample_takes_computes_nothing():
    model = loader.load(models.branches()).model
    samples = [{**row, "wide": np.array(True)} for row in models.rows(3)]
    found = collect(model, ["wide_y", "plain_z"], samples, ALL).statistics
    assert found["wide_y"].count == 12
    assert found["plain_z"].count == 0


def test_each_branch_is_observed_where_it_is_taken():
    model = loader.load(models.branches()).model
    found = collect(model, ["wide_y", "plain_z"], models.branch_rows(4), ALL).statistics
    assert (found["wide_y"].count, found["plain_z"].count) == (8, 8)


def test_values_inside_loops_are_not_observed():
    text = """
    n (float[2] x, int64 times, bool go) => (float[2] z) {
      z = Loop(times, go, x) <body = b (int64 i, bool on, float[2] state)
        => (bool more, float[2] next) { more = Identity(on) next = Sin(state) }>
    }"""
    samples = [{"x": np.ones(2, np.float32), "times": np.array(2), "go": np.array(True)}]
    found = collect(graphs.build(text), ["next", "z"], samples, ALL).statistics
    assert (found["next"].count, found["z"].count) == (0, 2)


def test_no_samples_is_an_error():
    with pytest.raises(DataError, match="there are no samples"):
        collect(unary(), ["x"], [], EXTREMA)


def test_a_sample_that_does_not_fit_tells_its_shape():
    with pytest.raises(DataError, match=r"x \[3\]"):
        collect(unary(), ["y"], [{"x": np.ones(3, np.float32)}], EXTREMA)


def test_progress_is_told_after_every_sample():
    told = []
    samples = [{"x": np.ones((1, 1), np.float32)}] * 3
    collect(unary(), ["x"], samples, EXTREMA, total=3, progress=lambda *a: told.append(a))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_kept_sample_follows_the_seed():
    samples = [{"x": np.full((1, 1), i, np.float32)} for i in range(100)]
    kept = [collect(unary(), ["x"], samples, EXTREMA, seed=s).kept for s in (1, 1, 2)]
    first, again, other = ([float(s["x"][0, 0]) for s in each] for each in kept)
    assert first == again != other


def test_a_stream_that_was_peeked_at_is_read_once_and_whole():
    pulled = []
    stream = SampleStream(pulled.append(i) or {"x": i} for i in range(5))
    assert [s["x"] for s in stream.peek(2)] == [0, 1]
    assert [s["x"] for s in stream.peek(1)] == [0]
    assert pulled == [0, 1]
    assert [s["x"] for s in stream] == [0, 1, 2, 3, 4]
    assert pulled == [0, 1, 2, 3, 4]


def test_an_empty_stream_is_an_error_when_it_is_peeked_at():
    with pytest.raises(DataError, match="no samples"):
        SampleStream([]).peek(1)


def test_collectors_of_parts_find_what_one_finds():
    samples = [{"x": models.numbers(i, 3, 5)} for i in range(9)]
    whole = collect(unary(), ["x", "y"], samples, ALL)
    parts = [Collector(unary(), ["x", "y"], ALL) for _ in range(2)]
    for index in reversed(range(9)):
        parts[index % 2].see(index, samples[index])
    merged = parts[1].collection().merge(parts[0].collection())
    assert merged.samples == whole.samples == 9
    assert merged.indices.tolist() == whole.indices.tolist() == list(range(9))
    for name, expected in whole.statistics.items():
        got = merged.statistics[name].to_arrays()
        for key, array in expected.to_arrays().items():
            np.testing.assert_array_equal(got[key], array)


def test_a_value_that_is_infinite_in_one_part_has_no_statistics_in_the_whole():
    parts = [Collector(unary("Log"), ["x", "y"], ALL) for _ in range(2)]
    parts[0].see(0, {"x": np.float32([[1.0]])})
    parts[1].see(1, {"x": np.float32([[-1.0]])})
    merged = parts[0].collection().merge(parts[1].collection())
    assert merged.infinite == {"y"}
    assert list(merged.statistics) == ["x"]


def test_parts_that_saw_the_same_sample_do_not_merge():
    part = collect(unary(), ["x"], [{"x": np.float32([[1.0]])}], EXTREMA)
    with pytest.raises(CalibrationError, match="number 0"):
        part.merge(part)


def test_parts_that_observed_different_values_do_not_merge():
    parts = [Collector(unary(), [name], ALL).collection() for name in "xy"]
    with pytest.raises(CalibrationError, match="'x' is in one of the two only"):
        parts[0].merge(parts[1])
