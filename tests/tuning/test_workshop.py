"""A layer left float costs itself, and nothing that merely stands behind it."""

import graphs
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.errors import EdgeqError
from edgeq.graph import shapes
from edgeq.quantization.annotate import annotate
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.recipe import Recipe
from edgeq.refinement import steps
from edgeq.refinement.rewritten import Rewritten
from edgeq.refinement.rounding import round_weights
from edgeq.runtime.session import Session
from edgeq.targets.cpu import CPU
from edgeq.tuning import floats
from edgeq.tuning import workshop as shops
from edgeq.tuning.candidate import Choice
from edgeq.tuning.floats import NOT_FINITE
from edgeq.tuning.workshop import Workshop


def workshop(model, samples, measured=None, further=(), calibrator="minmax"):
    chosen = calibrators_for(calibrator)
    names = [ref.name for ref in annotate(model, CPU, Recipe()).observed()]
    found = collect(model, names, samples, required_kinds(chosen), threads=1)
    measured = measured or samples
    others = samples[len(measured) :]
    return Workshop(
        model, model, CPU, Recipe(), found, chosen, measured, samples, others, further, threads=1
    )


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


def biased():
    """Convolutions with biases."""
    return graphs.build(
        """n (float[1,8,6,6] x) => (float[1,8,6,6] z) {
          [a] y = Conv(x, w0, b) [b] u = Conv(y, w1, b) [c] z = Conv(u, w2, b) }""",
        w0=graphs.numbers(0, 8, 8, 1, 1, scale=0.3),
        w1=graphs.numbers(1, 8, 8, 1, 1, scale=0.3),
        w2=graphs.numbers(2, 8, 8, 1, 1, scale=0.3),
        b=graphs.numbers(3, 8),
    )


def test_a_candidate_is_confirmed_once(monkeypatch):
    model = pooled()
    samples = graphs.feeds(model, 8)
    shop = workshop(model, samples, samples[:2])
    built, other = (shop.build(Choice(("minmax",))) for _ in range(2))
    confirmed = shop.confirm(built)
    monkeypatch.setattr(shop, "open", None)
    assert shop.confirm(built) is confirmed
    with pytest.raises(TypeError):
        shop.confirm(other)


def test_a_finalist_is_as_close_as_measuring_it_on_everything_finds():
    model = pooled()
    samples = graphs.feeds(model, 8)
    shop = workshop(model, samples, samples[:2])
    confirmed = shop.confirm(shop.build(Choice(("minmax",))))
    assert confirmed.sqnr_db == pytest.approx(
        graphs.closeness(model, confirmed.model, samples), abs=0.01
    )


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ((), {"bias", "round", "round-weights", "bias-measured"}),
        (("bias",), {"bias", "round", "round-weights", "bias-measured"}),
        (("round",), {"round"}),
        (("round-weights",), {"round", "round-weights", "bias-measured"}),
        (("bias-measured",), {"round", "round-weights", "bias-measured"}),
    ],
)
def test_a_step_that_another_one_makes_superfluous_does_not_apply(taken, left):
    model = biased()
    shop = workshop(model, graphs.feeds(model))
    built = shop.build(Choice(("minmax",), steps=frozenset(taken)))
    weights = [step for step in steps.STEPS if step.stage is steps.Stage.WEIGHTS]
    assert {step.name for step in weights if shop.applies(step, built)} == left


def test_steps_that_need_biases_do_not_apply_without_any():
    model = pooled()
    shop = workshop(model, graphs.feeds(model))
    built = shop.build(Choice(("minmax",)))
    found = [step.name for step in steps.STEPS if step.on_biases and shop.applies(step, built)]
    assert not found
    assert shop.applies(steps.ROUND, built)


@pytest.mark.parametrize("step", [steps.EQUALIZE, steps.SMOOTH], ids=["equalize", "smooth"])
def test_a_step_that_scales_nothing_does_not_apply_and_is_worked_out_once(monkeypatch, step):
    model = graphs.build(
        "n (float[1,8,6,6] x) => (float[1,8,6,6] z) { [a] z = Conv(x, w) }",
        w=graphs.numbers(0, 8, 8, 1, 1),
    )
    asked = []

    def rewritten(prepared, annotations, channels):
        asked.append(prepared)
        return Rewritten(prepared.clone(), frozenset(), 0, ())

    monkeypatch.setattr(floats, "equalize", rewritten)
    monkeypatch.setattr(floats, "migrate_scales", rewritten)
    shop = workshop(model, graphs.feeds(model))
    built = shop.build(Choice(("minmax",)))
    assert not shop.applies(step, built)
    assert shop.build(built.choice.with_step(step)).floats is built.floats
    assert len(asked) == 1


def clipped():
    """Channels that differ a thousand times in front of a bound that nothing comes near."""
    first, second = (graphs.numbers(seed, 8, 8, 1, 1, scale=0.3) for seed in (0, 1))
    first[0] *= 1000.0
    second[:, 0] /= 1000.0
    return graphs.build(
        """n (float[1,8,6,6] x) => (float[1,8,6,6] z) {
          [a] y = Conv(x, w0) [cut] r = Clip(y, low, high) [b] z = Conv(r, w1) }""",
        w0=first,
        w1=second,
        low=np.float32(0),
        high=np.float32(1e6),
    )


def test_what_a_step_did_to_the_model_is_told_once():
    model = clipped()
    shop = workshop(model, graphs.feeds(model))
    plain = Choice(("minmax",))
    assert shop.build(plain).floats.notes == ()
    both = shop.build(plain.with_step(steps.EQUALIZE).with_step(steps.SMOOTH))
    (note,) = [note for note in both.floats.notes if "became Relu" in note]
    assert "1 Clip nodes" in note


@pytest.fixture
def lessons(monkeypatch):
    """How many samples layers learned from, each time that they did."""
    found = []

    def counted(base, plan, samples, **options):
        found.append(len(samples))
        return round_weights(base, plan, samples, **options)

    monkeypatch.setattr(shops, "round_weights", counted)
    return found


def test_what_is_settled_learns_from_all_samples(lessons):
    model = biased()
    samples = graphs.feeds(model, 8)
    shop = workshop(model, samples[:4], samples[4:], samples[4:])
    judged = shop.build(Choice(("minmax",), steps=frozenset({"round"})))
    final = shop.learned_again(judged)
    assert lessons == [4, 8]
    assert final.choice == judged.choice
    want = round_weights(model, judged.plan, samples, threads=1).model
    for name in "abc":
        there, here = (
            next(n for n in m.graph if n.name == name).inputs[1].const_value.numpy()
            for m in (want, final.adjusted)
        )
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("steps_taken", [(), ("bias",)])
def test_what_has_learned_nothing_is_not_built_again(lessons, steps_taken):
    model = biased()
    samples = graphs.feeds(model, 8)
    shop = workshop(model, samples[:4], samples[4:], samples[4:])
    built = shop.build(Choice(("minmax",), steps=frozenset(steps_taken)))
    assert shop.learned_again(built) is built
    assert not lessons


def test_without_further_samples_nothing_is_learned_again(lessons):
    model = biased()
    shop = workshop(model, graphs.feeds(model))
    built = shop.build(Choice(("minmax",), steps=frozenset({"round"})))
    assert shop.learned_again(built) is built
    assert len(lessons) == 1


def test_steps_on_top_of_rounding_do_not_round_again(lessons):
    model = biased()
    samples = graphs.feeds(model, 8)
    shop = workshop(model, samples[:4], samples[4:], samples[4:])
    rounded = Choice(("minmax",), steps=frozenset({"round-weights"}))
    shop.build(rounded)
    more = shop.build(rounded.with_step(steps.BIAS_MEASURED))
    assert lessons == [4]
    alone = workshop(model, samples[:4], samples[4:], samples[4:]).build(more.choice)

    for name, array in Session(more.model).run(samples[0]).items():
        np.testing.assert_array_equal(array, Session(alone.model).run(samples[0])[name])
    shop.build(rounded.with_excluded(["a"], "asked for"))
    shop.learned_again(more)
    assert lessons == [4, 4, 4, 8]


def test_scores_beside_boxes_count_by_themselves():
    model = graphs.build(
        """n (float[1,8,6,6] x) => (float[1,16,6,6] z) {
          b = Mul(x, large) [score] y = Conv(x, w) s = Sigmoid(y) z = Concat<axis=1>(b, s) }""",
        w=graphs.numbers(0, 8, 8, 1, 1, scale=0.3),
        large=np.float32(1000.0),
    )
    shapes.infer(model)
    built = workshop(model, graphs.feeds(model)).build(Choice(("minmax",)))
    assert set(built.outputs) == {"z"}
    assert built.outputs["z"].sqnr_db > 60
    assert built.sqnr_db == built.parts["z[8:16]"].sqnr_db < 60
