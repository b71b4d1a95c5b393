"""What is known of values: histograms keep their elements, and say what the integers leave out."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from edgeq.calibration.contract import StatisticKind
from edgeq.calibration.statistics import Statistics
from edgeq.quantization import affine
from edgeq.quantization.plan import ActivationEntry, QuantPlan
from edgeq.quantization.ranges import ChosenRange
from edgeq.report.details import BINS, collect_details
from edgeq.types import EdgeRef, QuantParams, QuantSpec, QuantType, TensorRange, ValueRef

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 4] y) {
  [first] a = Add(x, x)
  [cut] b = Relu(a)
  [second] y = Sigmoid(b)
}
"""
SPEC = QuantSpec(QuantType.UINT8)


def model():
    return ir.serde.deserialize_model(parser.parse_model(NET))


def seen(values):
    found = Statistics(frozenset(StatisticKind))
    found.update(0, np.asarray(values, np.float32))
    return found


def range_of(low, high):
    return ChosenRange(TensorRange(low, high), "mse", 30.0)


def entry(name, low, high, readers=None):
    params = affine.params_for_range(TensorRange(low, high), SPEC)
    return ActivationEntry(ValueRef(name), params, readers)


def only(values, low, high, dtype=QuantType.UINT8):
    params = affine.params_for_range(TensorRange(low, high), QuantSpec(dtype))
    plan = QuantPlan(activations=(ActivationEntry(ValueRef("b"), params, None),))
    known = collect_details(model(), {"b": range_of(low, high)}, {"b": seen(values)}, plan)
    [found] = known.values
    return found


def test_what_lies_outside_is_counted():
    found = only([0.0] * 50 + [1.0] * 45 + [40.0] * 5, 0.0, 2.0)
    assert found.outside == pytest.approx(0.05)
    assert found.zeros == pytest.approx(0.5)
    assert (found.minimum, found.maximum, found.count) == (0.0, 40.0, 100)
    assert (found.calibrator, found.expected_db, found.dtype) == ("mse", 30.0, "uint8")
    assert (found.first, found.last) == (0.0, pytest.approx(2.0))
    assert found.outlier_ratio == pytest.approx(1.0)
    assert found.used == pytest.approx(256)
    assert (found.producer, found.consumers) == ("Relu", ("Sigmoid",))
    assert sum(found.whole.counts) == 100
    assert sum(found.close_up.counts) == 95


def test_outliers_leave_few_integers_to_the_others():
    found = only([*np.linspace(0, 1, 2000), 100.0], 0.0, 100.0)
    assert found.outside == 0.0
    assert found.close_up is None
    assert found.used in (3, 4)


def test_rounding_at_the_end_is_not_cut_off():
    found = only(np.linspace(-1.0, 1.006, 1000), -1.0, 1.0)
    assert found.maximum > found.last
    assert found.outside == 0.0


@pytest.mark.parametrize("values", [[0.0], [3.5] * 7, [-1e30], [1e-40]])
def test_a_constant_has_a_histogram(values):
    found = only(values, min(values[0], 0.0), max(values[0], 0.0))
    assert sum(found.whole.counts) == len(values)
    assert found.whole.low < found.whole.high


def test_a_wide_type_does_not_hide_what_was_seen():
    found = only(np.linspace(0, 1, 100), 0.0, 1000.0, QuantType.UINT16)
    assert (found.whole.low, found.whole.high) == (0.0, 1.5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200),
    st.floats(0.01, 1e5),
)
def test_the_histogram_holds_every_element_once(values, high):
    found = only(values, -high, high)
    assert len(found.whole.counts) == BINS
    assert min(found.whole.counts) >= 0
    # Every bar rounds by itself, and never down to nothing.
    assert abs(sum(found.whole.counts) - len(values)) <= BINS
    assert sum(found.whole.counts) >= len(set(values)) / 2
    assert 0.0 <= found.outside <= 1.0
    assert found.whole.low <= found.minimum
    assert found.whole.high >= found.maximum


def test_all_values_are_there_in_the_order_of_the_graph():
    plan = QuantPlan(
        activations=(
            entry("y", 0.0, 1.0),
            entry("x", 0.0, 1.0, (EdgeRef("first", 0),)),
            entry("x", 0.0, 2.0),
        ),
        dropped=("cut",),
    )
    statistics = {"x": seen([1.0, 2.0]), "b": seen([1.0]), "a": Statistics(frozenset())}
    known = collect_details(model(), {"x": range_of(0.0, 2.0)}, statistics, plan)
    names = [each.name for each in known.values]
    assert names == ["x", "a", "b", "y"]
    by_name = dict(zip(names, known.values, strict=True))
    assert by_name["x"].last == pytest.approx(2.0)  # what everybody reads stands for the value
    assert (by_name["b"].dtype, by_name["b"].whole is None) == (None, False)
    assert (by_name["y"].dtype, by_name["y"].whole, by_name["y"].calibrator) == (
        "uint8",
        None,
        None,
    )
    assert (by_name["a"].count, by_name["a"].whole) == (0, None)
    assert known.layer_values == {"first": "a", "cut": "b", "second": "y"}


def test_the_value_of_a_layer_is_the_one_behind_what_was_dropped():
    plan = QuantPlan(activations=(entry("b", 0.0, 1.0),), dropped=("cut",))
    known = collect_details(model(), {}, {}, plan)
    assert known.layer_values == {"first": "b", "cut": "b"}


def test_a_type_of_few_bits_saturates_at_its_own_ends():
    params = QuantParams(np.float32(0.5), np.int64(0), QuantType.INT8)
    plan = QuantPlan(activations=(ActivationEntry(ValueRef("b"), params, None),))
    [found] = collect_details(model(), {}, {}, plan).values
    assert (found.first, found.last) == (-64.0, 63.5)
