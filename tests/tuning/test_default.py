"""The search keeps what measures best, and leaves float what costs too much."""

from dataclasses import dataclass, replace

import graphs
import models
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.graph import loader
from edgeq.quantization.annotate import annotate
from edgeq.quantization.pairs import PairForm
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.tuning import candidate, default
from edgeq.tuning.candidate import Choice
from edgeq.tuning.default import learn_again, search
from edgeq.tuning.floats import NO_SAMPLE
from edgeq.tuning.workshop import Workshop
from edgeq.validation.coverage import count_macs, shares


def workshop(model, samples, calibrators="minmax", skip=(), measured=None, further=()):
    chosen = calibrators_for(calibrators)
    names = [ref.name for ref in annotate(model, CPU, Recipe()).observed()]
    found = collect(model, names, samples, required_kinds(chosen), threads=1)
    measured, recipe = measured or samples, Recipe(skip_steps=skip)
    others = samples[len(measured) :]
    return Workshop(
        model, model, CPU, recipe, found, chosen, measured, samples, others, further, threads=1
    )


def chain(outlier=1.0, depth=3):
    """Convolutions of which the middle one reads a channel ``outlier`` times the others."""
    lines = "[a] y = Conv(x, w0) [b] u = Conv(y, w1) [c] z = Conv(u, w2)"
    head = "n (float[1,8,6,6] x) => (float[1,8,6,6] z)"
    first = graphs.numbers(0, 8, 8, 1, 1, scale=0.3)
    second = graphs.numbers(1, 8, 8, 1, 1, scale=0.3)
    first[0] *= outlier
    second[:, 0] /= outlier
    return graphs.build(
        f"{head} {{ {lines} }}", w0=first, w1=second, w2=graphs.numbers(2, 8, 8, 1, 1, scale=0.3)
    )


def found(model, calibrators="minmax", samples=None, skip=()):
    samples = samples or graphs.feeds(model, 4)
    shop = workshop(model, samples, calibrators, skip)
    return search(shop, tuple(calibrators_for(calibrators)), shares(count_macs(model, samples[0])))


def test_one_calibrator_leaves_no_choice():
    result = found(chain())
    assert result.best.choice.calibrators == ("minmax",)
    assert result.best.sqnr_db > default.COMFORT_DB
    assert not result.best.choice.excluded


def test_auto_is_as_close_as_every_calibrator_alone():
    model = chain()
    samples = graphs.feeds(model, 4)
    shop = workshop(model, samples, "auto")
    shop.recipe = shop.recipe.with_changes(pairs="full")
    names = tuple(calibrators_for("auto"))
    best = search(shop, names, shares(count_macs(model, samples[0]))).best
    alone = [shop.build(Choice((name,))).sqnr_db for name in names]
    assert best.sqnr_db >= max(alone) - default.NOTICEABLE_DB


def test_layers_that_ruin_the_output_are_left_float_with_the_reason():
    result = found(chain(outlier=2000.0), skip=("equalize",))
    left = {d.node: d.reason for d in result.best.plan.decisions if d.form is NodeForm.FLOAT}
    assert left
    assert all("int8 costs accuracy here" in reason for reason in left.values())
    assert any("stay float because int8 costs accuracy" in note for note in result.notes)
    assert result.best.sqnr_db > workshop_start(2000.0).sqnr_db


def test_channels_that_differ_are_equalized_instead():
    result = found(chain(outlier=2000.0))
    assert "equalize" in result.best.choice.steps
    assert not result.best.choice.excluded
    assert result.best.sqnr_db > default.COMFORT_DB


def workshop_start(outlier):
    model = chain(outlier)
    return workshop(model, graphs.feeds(model, 4)).build(Choice(("minmax",)))


def test_a_recovery_step_stays_only_where_it_helps(monkeypatch):
    monkeypatch.setattr(default, "NOTICEABLE_DB", 1000.0)
    monkeypatch.setattr(default, "ENOUGH_DB", 200.0)
    result = found(chain())
    assert not result.best.choice.steps
    assert result.steps
    assert not any(trial.kept for trial in result.steps)


def test_nodes_in_a_branch_that_no_sample_takes_stay_float():
    text = """n (float[1,3,4,4] x, bool c) => (float[1,3,4,4] z) { [stem] y = Conv(x, w)
      [i] z = If(c) <
        then_branch = a () => (float[1,3,4,4] t) { [one] t = Conv(y, w) },
        else_branch = b () => (float[1,3,4,4] e) { [two] f = Conv(y, w) [r] e = Relu(f) }> }"""
    model = graphs.build(text, w=graphs.numbers(1, 3, 3, 1, 1, scale=0.5))
    built = workshop(model, graphs.feeds(model, 4, c=True)).build(Choice(("minmax",)))
    forms = {d.node: (d.form, d.reason) for d in built.plan.decisions}
    assert forms["one"] == (NodeForm.STATIC, "")
    assert forms["two"] == (NodeForm.FLOAT, NO_SAMPLE)
    other = graphs.feeds(model, 2, c=False)
    assert graphs.closeness(model, built.model, other) > 30


@pytest.mark.parametrize("steps", [(), ("bias",)])
def test_what_is_built_is_measured(steps):
    model = chain()
    samples = graphs.feeds(model, 4)
    built = workshop(model, samples).build(Choice(("minmax",), steps=frozenset(steps)))
    assert built.sqnr_db == pytest.approx(graphs.closeness(model, built.model, samples), abs=0.01)


def test_the_models_of_every_kind_are_found_close():
    for model, samples in (
        (models.conv_net(), models.images(8)),
        (models.mlp(), models.rows(8)),
        (models.branches(), models.branch_rows(8)),
    ):
        assert found(loader.load(model).model, samples=samples).best.sqnr_db > 25


def test_what_is_not_finite_is_the_farthest_off(monkeypatch):
    model = chain()
    built = workshop(model, graphs.feeds(model, 2)).build(Choice(("minmax",)))
    broken = {name: type(each)(99.0, 1.0, 0.0, None, False) for name, each in built.outputs.items()}
    assert replace(built, outputs=broken).sqnr_db == -200
    assert np.isfinite(built.sqnr_db)


def test_what_is_close_enough_is_not_bettered():
    assert not found(chain()).steps


def test_steps_are_compared_with_what_is_measured_on_the_same_samples(monkeypatch):
    monkeypatch.setattr(default, "ENOUGH_DB", 200.0)
    model = chain(outlier=100.0)
    samples = graphs.feeds(model, 8)
    for sample in samples[2:]:
        sample["x"] *= 0.1
    shop = workshop(model, samples, "auto", measured=samples[:2])
    found = search(shop, tuple(calibrators_for("auto")), {})
    chosen = found.best.choice
    plain = shop.build(Choice(chosen.calibrators, pairs=chosen.pairs))
    assert found.steps[0].before_db == plain.typical_db
    assert shop.confirm(plain).typical_db != plain.typical_db


@dataclass(frozen=True)
class Measured:
    typical_db: float
    sqnr_db: float


class Confirming:
    """Measures on more samples what was measured on few."""

    def __init__(self, outcomes):
        self._outcomes = outcomes
        self.asked = []

    def confirm(self, candidate):
        self.asked.append(candidate)
        return self._outcomes[candidate]


def test_of_perfect_candidates_the_one_with_the_best_worst_samples_is_the_closest():
    close, closer = Measured(60.0, 29.0), Measured(59.9, 40.0)
    shop = Confirming({close: Measured(60.0, 29.0), closer: Measured(59.9, 41.0)})
    assert default._closest(shop, [close, closer]) is closer


def test_a_candidate_far_ahead_is_not_measured_again():
    shop = Confirming({})
    ahead = Measured(25.0, 20.0)
    assert default._closest(shop, [Measured(22.0, 24.0), ahead]) is ahead
    assert not shop.asked


def test_candidates_close_to_each_other_are_told_apart_on_all_samples():
    lucky, better = Measured(25.0, 20.0), Measured(24.5, 20.0)
    shop = Confirming({lucky: Measured(21.0, 18.0), better: Measured(24.0, 20.0)})
    assert default._closest(shop, [lucky, better]) is better


@dataclass(frozen=True)
class Told:
    """A candidate of which the steps tell how close it is."""

    choice: Choice
    typical_db: float
    sqnr_db: float = 20.0


class Telling:
    """Builds candidates whose closeness is known beforehand; every step applies."""

    def __init__(self, skip=(), **known):
        self.recipe = Recipe(skip_steps=skip)
        self._known = {frozenset(name.split("_")): db for name, db in known.items()}

    def applies(self, step, candidate):
        return candidate.choice.has_room_for(step) and step.name in ("bias", "equalize")

    def confirm(self, candidate):
        return candidate

    def build(self, choice, *, like=None):
        return Told(choice, self._known[choice.steps or frozenset({"none"})])


@pytest.mark.parametrize(
    ("skip", "known", "kept"),
    [
        ((), {"none": 20.0, "bias": 21.0, "equalize": 24.0, "bias_equalize": 20.5}, {"equalize"}),
        ((), {"none": 20.0, "bias": 19.0, "equalize": 20.0, "bias_equalize": 24.0}, "both"),
        (("bias",), {"none": 20.0, "equalize": 20.1}, set()),
    ],
)
def test_behind_a_step_on_the_float_model_biases_are_corrected_where_that_helps(skip, known, kept):
    shop = Telling(skip, **known)
    best, _ = default.recover(shop, shop.build(Choice(("minmax",))))
    assert best.choice.steps == ({"bias", "equalize"} if kept == "both" else kept)


def test_steps_are_judged_on_samples_that_they_have_not_seen_and_learn_from_them_afterwards(
    monkeypatch,
):
    monkeypatch.setattr(default, "ENOUGH_DB", 200.0)
    monkeypatch.setattr(default, "NOTICEABLE_DB", -100.0)
    model = chain(outlier=100.0)
    samples = graphs.feeds(model, 8)
    skip = ("bias", "equalize")
    shop = workshop(model, samples[:4], skip=skip, measured=samples[4:], further=samples[4:])
    result = search(shop, ("minmax",), {}, falls_back=False)
    judged = shop.build(result.best.choice)
    rounded = next(trial for trial in result.steps if trial.name == "round")
    assert rounded.after_db == judged.typical_db
    learned = learn_again(shop, result.best)
    assert learned.best.typical_db > judged.typical_db
    (note,) = learned.notes
    assert "learned anew from 8 samples" in note
    assert f"{judged.typical_db:.1f} dB" in note


def test_forms_of_weights_are_compared_with_biases_corrected(monkeypatch):
    monkeypatch.setattr(default, "ENOUGH_DB", 200.0)
    monkeypatch.setattr(candidate, "CLOSE_DB", 200.0)
    compared = []

    def narrowed(shop, candidate):
        compared.append(candidate.choice)
        return shop.build(replace(candidate.choice, pairs=PairForm.NARROW)), None

    monkeypatch.setattr(default, "settle_pairs", narrowed)
    model = graphs.build(
        """n (float[1,8,6,6] x) => (float[1,8,6,6] z) {
          [a] y = Conv(x, w, b) [c] z = Conv(y, w, b) }""",
        w=graphs.numbers(0, 8, 8, 1, 1),
        b=graphs.numbers(1, 8),
    )
    shop = workshop(model, graphs.feeds(model, 4), "auto")
    result = search(shop, tuple(calibrators_for("auto")), {}, falls_back=False)
    assert [choice.steps for choice in compared] == [{"bias"}]
    assert result.best.choice.pairs is PairForm.NARROW
    plain = shop.build(replace(result.best.choice, steps=frozenset()))
    assert result.steps[0].before_db in (plain.typical_db, plain.sqnr_db)


def test_a_step_that_is_skipped_is_nowhere_in_the_result():
    result = found(chain(outlier=2000.0), skip=("bias", "equalize"))
    assert result.best.choice.excluded
    assert not {"bias", "equalize"} & result.best.choice.steps
