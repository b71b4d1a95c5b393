"""All switches on: the quantized model. All off: the float one."""

import graphs
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.errors import ModelError
from edgeq.graph.constants import is_constant
from edgeq.quantization.annotate import annotate
from edgeq.quantization.insert import insert
from edgeq.quantization.ranges import calibrators_for, choose_ranges, required_kinds
from edgeq.quantization.resolve import resolve
from edgeq.quantization.switched import Kind, with_switches
from edgeq.recipe import Recipe
from edgeq.refinement.bias_correction import correct_biases, input_axes
from edgeq.refinement.channels import channel_ranges
from edgeq.runtime.session import Session
from edgeq.targets.cpu import CPU
from edgeq.types import EdgeRef, ValueRef

CHAIN = """n (float[1,4,6,6] x) => (float[1,4,6,6] z) {
  [first] a = Conv(x, w, b)
  [relu] r = Relu(a)
  [second] z = Conv(r, w, b)
}"""
BRANCH = """n (float[1,4,6,6] x, bool c) => (float[1,4,6,6] z) {
  [stem] y = Conv(x, w, b)
  [i] z = If(c) <
    then_branch = t () => (float[1,4,6,6] t) { [one] t = Conv(y, w, b) },
    else_branch = e () => (float[1,4,6,6] e) { [two] e = Conv(y, w) }>
}"""
DYNAMIC = """n (float[5,4] x) => (float[5,4] z) {
  [root] r = Erf(x)
  [product] z = MatMul(r, m)
}"""


def weights():
    return {
        "w": graphs.numbers(0, 4, 4, 1, 1, scale=0.4),
        "b": graphs.numbers(1, 4),
        "m": graphs.numbers(2, 4, 4, scale=0.4),
    }


def planned(model, samples):
    annotations = annotate(model, CPU, Recipe())
    chosen = calibrators_for("minmax")
    names = [ref.name for ref in annotations.observed()]
    seen = collect(model, names, samples, required_kinds(chosen), threads=1).statistics
    ranges = choose_ranges(model, annotations, seen, chosen)
    return resolve(model, annotations, {name: each.bounds for name, each in ranges.items()})


def build(text):
    used = {name: data for name, data in weights().items() if f", {name}" in text}
    return graphs.build(text, **used)


@pytest.mark.parametrize("text", [CHAIN, BRANCH, DYNAMIC])
@pytest.mark.parametrize("corrected", [False, True])
def test_all_on_is_the_quantized_model_and_all_off_the_float_one(text, corrected):
    model = build(text)
    extra = {"c": True} if "bool c" in text else {}
    samples = graphs.feeds(model, 4, **extra)
    if extra:
        samples = [
            {**sample, "c": np.array(number % 2 == 0)} for number, sample in enumerate(samples)
        ]
    plan = planned(model, samples)
    adjusted = model
    if corrected:
        adjusted = correct_biases(model, plan, channel_ranges(model, input_axes(model), samples))
    switched = with_switches(model, adjusted, plan)
    session = Session(switched.model)
    exact, rounded = Session(model), Session(insert(adjusted, plan))
    for sample in samples:
        off = session.run({**sample, **switched.feed(())})["z"]
        on = session.run({**sample, **switched.feed(switched.switches)})["z"]
        np.testing.assert_allclose(off, exact.run(sample)["z"], rtol=1e-5, atol=1e-5)
        # Sums of integers and of floats may fall on either side of a step.
        want = rounded.run(sample)["z"]
        assert np.abs(on - want).max() <= 0.02 * np.abs(want).max()
        assert np.abs(on - off).max() > 0


def test_every_rounding_has_a_switch_of_its_own():
    model = build(CHAIN)
    switched = with_switches(model, model, planned(model, graphs.feeds(model, 4)))
    assert set(switched.switches) == {
        ValueRef("x"), ValueRef("r"), ValueRef("z"), EdgeRef("first", 1), EdgeRef("second", 1),
    }  # fmt: skip


@pytest.mark.parametrize("text", [CHAIN, DYNAMIC])
def test_kinds_share_the_switches_out_and_constant_weights_stay_constant(text):
    model = build(text)
    plan = planned(model, graphs.feeds(model, 4))
    weights, rest = (with_switches(model, model, plan, (kind,)) for kind in Kind)
    assert all(isinstance(ref, EdgeRef) and ref.input == 1 for ref in weights.switches)
    assert {*weights.switches, *rest.switches} == set(with_switches(model, model, plan).switches)
    assert not weights.switches.keys() & rest.switches.keys()
    constant = {n.name for n in rest.model.graph if len(n.inputs) > 1 and is_constant(n.inputs[1])}
    assert {ref.node for ref in weights.switches} <= constant


def test_a_plan_of_another_model_is_refused():
    plan = planned(build(CHAIN), graphs.feeds(build(CHAIN), 4))
    other = build(DYNAMIC)
    with pytest.raises(ModelError, match="does not exist"):
        with_switches(other, other, plan)
