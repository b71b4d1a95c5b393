"""From profiles to microseconds of nodes and of conversions."""

import graphs
import pytest

from edgeq.runtime.profile import NodeTime
from edgeq.tuning.costs import USUAL, Conversions, elements_of, measured_costs, node_times


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
    # Three microseconds for 400 elements, and one change of layout for two conversions.
    assert costs.quantize.of(100) == pytest.approx(5.0 + 3.0)
    assert costs.quantize.of(500) == pytest.approx(8.0 + 3.0)
    assert costs.dequantize.once_us == pytest.approx(USUAL.once_us + 3.0)


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


def test_what_two_profiles_show_of_conversions_is_put_together():
    """The second has too few to tell what depends on size."""
    first = Conversions(((100, 5.0), (500, 8.0)), ((100, 4.0),), (2.0, 2.0, 5.0))
    second = Conversions(((300, 6.5),), (), (4.0,))
    both = first + second
    assert both.quantize == ((100, 5.0), (500, 8.0), (300, 6.5))
    assert both.layouts == (2.0, 2.0, 5.0, 4.0)
    quantize, dequantize = both.rates()
    # Each of four changes of layout takes 2 at least, and 3 + 2 for 1000 elements beyond that.
    assert quantize.once_us == pytest.approx(4.25 + 2.0)
    assert quantize.element_us == pytest.approx(0.0075 + 0.005)
    assert dequantize.of(100) == pytest.approx(4.0 + 2.0 + 0.5)


def test_a_conversion_takes_its_time_however_small():
    """A line through noise may cross zero on the way to the smallest."""
    quantize, _ = Conversions(((1000, 2.0), (2000, 40.0))).rates()
    assert quantize.of(0) == 2.0
