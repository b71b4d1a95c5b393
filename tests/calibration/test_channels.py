"""Extrema of channels: exact, merged in any order, and of the axis that the layers say."""

import graphs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.calibration import StatisticKind, Statistics
from edgeq.calibration.channels import ChannelLayout
from edgeq.calibration.collector import Collector, collect
from edgeq.calibration.layouts import channel_layout
from edgeq.errors import CalibrationError
from edgeq.graph.walk import values

ALL = frozenset(StatisticKind)
NET = """
net (float[N,3,20,20] x) => (float[N,5] out) {
  a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w)
  b = Relu(a)
  c = GlobalAveragePool(b)
  d = Flatten(c)
  out = MatMul(d, m)
}
"""


def net():
    kernels = graphs.numbers(0, 6, 3, 3, 3)
    kernels[2] = 0.0
    return graphs.build(NET, w=kernels, m=graphs.numbers(1, 6, 5))


def samples(count, batch=1):
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((batch, 3, 20, 20)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(
    ("line", "shape", "out", "axis"),
    [
        ("y = Conv(x, k)", "N,4,8,8", "N,4,8,8", 1),
        ("a = Relu(x) b = Add(a, x) y = Conv(b, k)", "N,4,8,8", "N,4,8,8", 1),
        ("y = Sin(x)", "N,4,8,8", "N,4,8,8", 1),
        ("y = Sin(x)", "N,C,8,8", "N,C,8,8", None),
        ("y = Sin(x)", "N,7,16", "N,7,16", None),
        ("y = MatMul(x, m)", "N,T,16", "N,T,5", 2),
        ("a = Relu(x) y = MatMul(a, m)", "N,T,16", "N,T,5", 2),
        ("t = Transpose<perm = [0, 2, 1]>(x) y = MatMul(x, t)", "N,7,16", "N,7,7", None),
        ("y = Gemm(x, m)", "N,16", "N,5", 1),
    ],
)
def test_the_nearest_layer_tells_the_axis(line, shape, out, axis):
    constants = {"k": graphs.numbers(0, 4, 4, 1, 1), "m": graphs.numbers(0, 16, 5)}
    used = {name: array for name, array in constants.items() if f", {name})" in line}
    built = graphs.build(f"n (float[{shape}] x) => (float[{out}] y) {{ {line} }}", **used)
    found = channel_layout(values(built)["x"])
    assert (None if found is None else found.axis) == axis


@pytest.mark.parametrize("batch", [1, 3])
def test_extrema_are_those_of_all_samples(batch):
    data = samples(5, batch)
    found = collect(net(), ["x", "b", "d"], data, ALL).statistics
    x = np.concatenate([sample["x"] for sample in data])
    np.testing.assert_array_equal(found["x"].channels.minimum, x.min(axis=(0, 2, 3)))
    np.testing.assert_array_equal(found["x"].channels.maximum, x.max(axis=(0, 2, 3)))
    assert found["b"].channels.axis == 1
    assert found["b"].channels.maximum[2] == 0.0
    assert (found["b"].channels.maximum > 0).sum() == 5
    assert found["d"].channels.minimum.shape == (6,)


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_merge_to_the_bits_of_one_run(shards):
    model, data = net(), samples(9)
    whole = Collector(model, ["x", "b", "d"], ALL)
    parts = [Collector(model, ["x", "b", "d"], ALL) for _ in range(shards)]
    for index, sample in enumerate(data):
        whole.see(index, sample)
        parts[index % shards].see(index, sample)
    merged = parts[-1].collection()
    for part in parts[-2::-1]:
        merged = merged.merge(part.collection())
    for name, found in whole.collection().statistics.items():
        for key, array in found.to_arrays().items():
            np.testing.assert_array_equal(merged.statistics[name].to_arrays()[key], array)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 2))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_rows_arrays_and_merges_find_the_same(batches, axis):
    rng = np.random.default_rng(len(batches))
    shape = [0, 0, 0]
    arrays = []
    for batch in batches:
        shape = [batch + 1] * 3
        shape[axis] = 3
        arrays.append(rng.standard_normal(shape).astype(np.float32))
    where = ChannelLayout(axis, 3, 3)
    single, merged = Statistics(ALL, layout=where), Statistics(ALL, layout=where)
    rows = Statistics(ALL, layout=where)
    for index, array in enumerate(arrays):
        single.update(index, array)
        rows.update_rows([index], [array])
        part = Statistics(ALL, layout=where)
        part.update(index, array)
        merged = part.merge(merged)
    over = tuple(other for other in range(3) if other != axis)
    wanted = np.min([array.min(axis=over) for array in arrays], axis=0)
    for each in (single, merged, rows, Statistics.from_arrays(single.to_arrays())):
        np.testing.assert_array_equal(each.channels.minimum, wanted)
        assert each.channels.maximum.max() == each.maximum


def test_another_number_of_channels_ends_it_in_any_order():
    where = ChannelLayout(1, 2, 3)
    fits, other, unseen = (Statistics(ALL, layout=where) for _ in range(3))
    fits.update(0, np.ones((2, 3), np.float32))
    other.update(1, np.ones((2, 4), np.float32))
    assert other.channels is None
    assert fits.merge(other).channels is None
    assert other.merge(fits).channels is None
    assert unseen.channels is None
    assert fits.merge(unseen).channels is not None
    fits.update(2, np.ones((2, 3, 1), np.float32))
    assert fits.channels is None


@pytest.mark.parametrize(
    "edit",
    [
        {"channel_maximum": np.zeros(2, np.float32)},
        {"channel_maximum": np.zeros(3, np.float64)},
        {"channel_axis": np.array(-1)},
        {"channel_axis": np.array(2)},
        {"channel_minimum": np.full(3, -5, np.float32)},
    ],
)
def test_damaged_channels_are_refused(edit):
    seen = Statistics(ALL, layout=ChannelLayout(1, 2, 3))
    seen.update(0, np.arange(6, dtype=np.float32).reshape(2, 3))
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.from_arrays(seen.to_arrays() | edit)


def test_what_an_earlier_version_stored_has_no_channels():
    seen = Statistics(ALL, layout=ChannelLayout(1, 2, 3))
    seen.update(0, np.arange(6, dtype=np.float32).reshape(2, 3))
    old = {k: a for k, a in seen.to_arrays().items() if not k.startswith("channel")}
    assert Statistics.from_arrays(old).channels is None
