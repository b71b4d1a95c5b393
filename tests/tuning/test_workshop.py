"""A layer left float costs itself, and nothing that merely stands behind it."""

import graphs
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.errors import EdgeqError
from edgeq.quantization.annotate import annotate
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.tuning import workshop as shops
from edgeq.tuning.candidate import Choice
from edgeq.tuning.workshop import NOT_FINITE, Workshop


def workshop(model, samples, measured=None):
    chosen = calibrators_for("minmax")
    names = [ref.name for ref in annotate(model, CPU, Recipe()).observed()]
    found = collect(model, names, samples, required_kinds(chosen), threads=1)
    measured = measured or samples
    return Workshop(model, model, CPU, Recipe(), found, chosen, measured, samples, threads=1)


def forms(built):
    return {decision.node: decision.form for decision in built.plan.decisions}


def pooled():
    return graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,2,2] z) {
          [first] a = Conv<pads=[1,1,1,1]>(x, w)
          [pool] b = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
          [second] c = Conv<pads=[1,1,1,1]>(b, w)
          [turn] d = Transpose<perm=[0,1,3,2]>(c)
          [third] e = Conv<pads=[1,1,1,1]>(d, w)
          [last] z = MaxPool<kernel_shape=[2,2], strides=[2,2]>(e)
        }""",
        w=graphs.numbers(0, 4, 4, 3, 3, scale=0.3),
    )


def test_a_layer_behind_a_pool_stays_in_integers_when_the_one_before_it_is_left_float():
    model = pooled()
    built = workshop(model, graphs.feeds(model)).build(
        Choice(("minmax",)).with_excluded(["first"], "asked for")
    )
    assert forms(built)["first"] is NodeForm.FLOAT
    assert forms(built)["second"] is NodeForm.STATIC
    assert forms(built)["third"] is NodeForm.STATIC
    assert built.choice.excluded == {"first": "asked for"}
    assert built.sqnr_db > 25


def test_a_value_that_is_infinite_leaves_its_readers_float_and_the_rest_in_integers():
    model = graphs.build(
        """n (float[1,4,4,4] x) => (float[1,4,4,4] z) {
          [first] a = Conv(x, w)
          [log] b = Log(a)
          [second] c = Conv(b, w)
          [cut] d = Clip(c, low, high)
          [third] z = Conv(d, w)
        }""",
        w=np.abs(graphs.numbers(0, 4, 4, 1, 1)),
        low=np.float32(-1),
        high=np.float32(1),
    )
    samples = [{"x": np.abs(sample["x"])} for sample in graphs.feeds(model)]
    samples[3]["x"][:] = 0.0
    built = workshop(model, samples).build(Choice(("minmax",)))
    reasons = {decision.node: decision.reason for decision in built.plan.decisions}
    assert reasons["second"] == NOT_FINITE
    assert forms(built)["first"] is NodeForm.STATIC
    assert forms(built)["third"] is NodeForm.STATIC


def test_a_candidate_that_does_not_load_is_called_a_defect_of_ours(monkeypatch):
    model = pooled()
    shop = workshop(model, graphs.feeds(model))

    def broken(base, plan):
        copy = base.clone()
        next(iter(copy.graph)).op_type = "NoSuchOperator"
        return copy

    monkeypatch.setattr(shops, "insert", broken)
    with pytest.raises(EdgeqError, match="defect of edgeq") as caught:
        shop.build(Choice(("minmax",)))
    assert caught.value.exit_code == 3


def test_a_finalist_is_measured_on_every_sample_that_was_kept():
    model = pooled()
    samples = graphs.feeds(model, 8)
    samples[7] = {"x": samples[7]["x"] * 0.01}
    shop = workshop(model, samples, samples[:2])
    built = shop.build(Choice(("minmax",)))
    confirmed = shop.confirm(built)
    assert confirmed.model is built.model
    assert confirmed.typical_db < built.typical_db
