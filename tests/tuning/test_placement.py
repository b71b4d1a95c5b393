"""The cut: each node on the side where it is fast, unless passing values there costs more."""

import graphs
import pytest

from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.tuning.costs import Costs, Rate
from edgeq.tuning.placement import slower_in_integers

FREE, DEAR = Rate(0.0, 0.0), Rate(40.0, 0.0)


def chain():
    return graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
          [first] a = Conv(x, w)
          [second] b = Conv(a, w)
          [relu] c = Relu(b)
          [third] d = Conv(c, w)
          [soft] z = Softplus(d)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )


def slow(floating, integer, rate=FREE, worth=None, model=None):
    model = model or chain()
    costs = Costs(floating, integer, rate, rate, {})
    return slower_in_integers(model, annotate(model, CPU, Recipe()), costs, worth or {})


FASTER = {"first": 30.0, "second": 30.0, "third": 30.0}


def test_a_layer_that_is_slower_in_integers_goes_to_float():
    assert slow(FASTER, {"first": 10.0, "second": 80.0, "third": 10.0}) == {"second"}


def test_it_stays_when_the_conversions_around_it_cost_more_than_it_gains():
    times = {"first": 10.0, "second": 40.0, "third": 10.0}
    assert slow(FASTER, times, Rate(8.0, 0.0)) == set()
    assert slow(FASTER, times, Rate(2.0, 0.0)) == {"second"}


def test_a_region_that_does_not_earn_its_borders_goes_as_a_whole():
    assert slow(FASTER, dict.fromkeys(FASTER, 20.0), DEAR) == set(FASTER)


def test_what_is_worth_having_in_integers_stays_there():
    times = {"first": 10.0, "second": 80.0, "third": 10.0}
    assert slow(FASTER, times, worth={"second": 60.0}) == set()
    assert slow(FASTER, times, worth={"second": 40.0}) == {"second"}


def test_the_time_of_an_absorbed_relu_counts_for_its_layer():
    times = {"first": 10.0, "second": 35.0, "third": 10.0}
    assert slow(FASTER, times) == {"second"}
    assert slow({**FASTER, "relu": 20.0}, times) == set()


def test_every_float_reader_pays_for_a_conversion_of_its_own():
    model = graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] y, float[1,4,8,8] z) {
          [first] a = Conv(x, w)
          [one] y = Softplus(a)
          [other] z = Softsign(a)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )
    rate = Rate(10.0, 0.0)  # one for the input, two for the readers
    assert slow({"first": 41.0}, {"first": 10.0}, rate, model=model) == set()
    assert slow({"first": 39.0}, {"first": 10.0}, rate, model=model) == {"first"}


@pytest.mark.parametrize(("integer", "expected"), [(5.0, set()), (50.0, {"product"})])
def test_a_layer_that_quantizes_its_own_input_is_judged_alone(integer, expected):
    model = graphs.build(
        "n (float[4,8] x) => (float[4,8] z) { [s] a = Softsign(x) [product] z = MatMul(a, w) }",
        w=graphs.numbers(0, 8, 8),
    )
    assert slow({"product": 20.0}, {"product": integer}, DEAR, model=model) == expected
