"""From profiles to microseconds of nodes and of conversions."""

import graphs
import pytest

from edgeq.runtime.profile import NodeTime
from edgeq.tuning.costs import USUAL, elements_of, measured_costs, node_times


def time(name, microseconds, op_type="Conv"):
    return NodeTime(name, op_type, 0.0, microseconds)


def chain():
    return graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
          [first] a = Conv(x, w)
          [relu] b = Relu(a)
          [second] z = Conv(b, w)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )


def test_a_kernel_named_after_what_it_writes_counts_for_its_layer():
    assert node_times(chain(), [time("b", 5.0), time("second", 3.0)]) == {
        "first": 5.0,
        "second": 3.0,
    }


def test_time_of_kernels_that_belong_to_no_node_is_shared_out():
    found = node_times(chain(), [time("first", 6.0), time("second", 2.0), time("ReorderX", 4.0)])
    assert found == pytest.approx({"first": 9.0, "second": 3.0})


def test_conversions_are_measured_where_they_run_and_usual_elsewhere():
    model = chain()
    quantized = graphs.quantize(model)
    conversions = [n for n in quantized.model.graph if n.op_type == "QuantizeLinear"]
    of_input = next(n for n in conversions if n.inputs[0].name == "x")
    of_hidden = next(n for n in conversions if n.inputs[0].name == "b")
    mixed = [
        time("first", 2.0),
        time(of_input.name, 8.0, "QuantizeLinear"),
        time(of_hidden.name, 5.0, "QuantizeLinear"),
        time("Transpose_1", 6.0, "Transpose"),
    ]
    sizes = {"x": 500, "b": 100, "z": 100}
    costs = measured_costs(model, quantized.model, [time("first", 7.0)], mixed, ["first"], sizes)
    assert costs.integer == {"first": 2.0}
    assert costs.floating == {"first": 7.0}
    # Three microseconds for 400 elements, and the change of layout over 600.
    assert costs.quantize.of(100) == pytest.approx(5.0 + 1.0)
    assert costs.quantize.of(500) == pytest.approx(8.0 + 5.0)
    assert costs.dequantize.once_us == USUAL.once_us


def test_what_was_known_before_stays_known():
    model = chain()
    quantized = graphs.quantize(model).model
    sizes = {}
    first = measured_costs(
        model, quantized, [time("first", 7.0)], [time("first", 2.0)], ["first"], sizes
    )
    again = measured_costs(model, quantized, [], [time("first", 9.0)], [], sizes, first)
    assert again.integer == {"first": 2.0}
    assert again.floating == {"first": 9.0}


def test_a_scalar_has_one_element():
    assert elements_of({"a": (), "b": (2, 3)}) == {"a": 1, "b": 6}
