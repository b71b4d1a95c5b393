"""Condensed values give the statistics that whole ones give."""

import graphs
import numpy as np
import pytest

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration import inner_values as module
from edgeq.calibration.channels import ChannelLayout
from edgeq.calibration.collector import collect
from edgeq.calibration.inner_values import InnerValues
from edgeq.errors import DataError
from edgeq.passes.infer_shapes import infer_shapes

ALL = frozenset(StatisticKind)
LIMIT = 2**15


def model(shape, lines="y = Sin(x) z = Neg(y)", out=None):
    built = graphs.build(f"n (float[{shape}] x) => (float[{out or shape}] z) {{ {lines} }}")
    infer_shapes(built)
    return built


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal(size).astype(np.float32)} for size in sizes]


def expected(arrays, layout=None):
    statistics = Statistics(ALL, layout=layout)
    for index, array in enumerate(arrays):
        statistics.update(index, array)
    return statistics


def assert_equal(found, wanted):
    got = found.to_arrays()
    for key, array in wanted.to_arrays().items():
        if array.dtype.kind == "U":
            continue
        tolerance = 1e-4 * wanted.count if key == "sample_sum" else 0.0
        np.testing.assert_allclose(got[key], array, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ("1,3,150,160", [(1, 3, 150, 160)] * 3),
        ("N,3,H,W", [(1, 3, 150, 160)] * 3),
        ("N,3,H,W", [(1, 3, 150, 160), (2, 3, 110, 120), (1, 3, 7, 9), (1, 3, 150, 160)]),
    ],
)
@pytest.mark.parametrize("at_once", [0, 2**24])
def test_condensed_values_give_the_statistics_of_whole_ones(monkeypatch, shape, sizes, at_once):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    samples = pictures(*sizes)
    found = collect(model(shape), ["x", "y"], samples, ALL).statistics
    layout = ChannelLayout(1, 4, 3)
    assert_equal(found["x"], expected([s["x"] for s in samples], layout))
    assert found["x"].channels.minimum.shape == (3,)
    whole = InnerValues(model(shape), ["y"], 2**40)
    wanted = expected([whole.run(i, s, set()).arrays["y"] for i, s in enumerate(samples)], layout)
    assert_equal(found["y"], wanted)


def test_large_values_do_not_come_out():
    inner = InnerValues(model("N,3,H,W"), ["y", "z"], LIMIT)
    found = inner.run(5, pictures((1, 3, 200, 200))[0], set())
    assert not found.arrays
    assert found.summaries["y"].size == 120_000
    assert all(summary.part.size <= LIMIT for summary in found.summaries.values())


def test_sizes_that_the_shapes_of_the_sample_do_not_tell():
    lines = "p = NonZero(x) i = Transpose(p) y = GatherND(x, i) z = Neg(y)"
    built = model("N,3,H,W", lines, out="K")
    y = next(n.outputs[0] for n in built.graph if n.op_type == "GatherND")
    y.shape = type(built.graph.inputs[0].shape)([None, None])
    samples = pictures(*[(1, 3, 120, 150)] * 3)
    samples[1]["x"][:, :, 20:] = 0.0
    found = collect(built, ["y"], samples, ALL).statistics["y"]
    kept = [s["x"][s["x"] != 0] for s in samples]
    assert found.count == sum(part.size for part in kept)
    assert found.samples.minima.tolist() == [part.min() for part in kept]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 12_345, 71_999])
def test_no_number_is_noticed_in_a_large_value(bad, place):
    samples = pictures(*[(1, 3, 150, 160)] * 3)
    samples[1]["x"].reshape(-1)[place] = bad
    found = collect(model("N,3,H,W", "y = Neg(x) z = Neg(y)"), ["y", "z"], samples, ALL)
    assert found.infinite == {"y", "z"}


def test_a_sum_beyond_float32_is_no_fault():
    samples = pictures(*[(1, 3, 150, 160)] * 2)
    samples[1]["x"][0, 0] = 3e38
    found = collect(model("N,3,H,W", "y = Neg(x) z = Neg(y)"), ["y"], samples, ALL)
    assert not found.infinite
    assert found.statistics["y"].minimum == pytest.approx(-3e38)


def test_a_value_without_elements_is_no_fault():
    samples = pictures((1, 3, 150, 160), (0, 3, 150, 160))
    assert collect(model("N,3,H,W"), ["y"], samples, ALL).statistics["y"].count == 72_000


def test_a_sample_that_does_not_fit_is_an_error():
    with pytest.raises(DataError, match="x"):
        InnerValues(model("N,3,H,W"), ["y"], LIMIT).run(0, {"x": np.ones(3, np.float32)}, set())
