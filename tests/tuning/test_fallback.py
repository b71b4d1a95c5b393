"""Layers are left float for accuracy as long as it pays."""

from dataclasses import dataclass, field, replace

import graphs
import pytest

from edgeq.quantization.plan import NodeDecision, NodeForm, QuantPlan
from edgeq.recipe import Recipe
from edgeq.refinement import steps
from edgeq.tuning import fallback
from edgeq.tuning.candidate import Choice
from edgeq.tuning.fallback import RESCUE_DB, held, leave_float, lightly_coupled
from edgeq.tuning.moves import Standing

SHARES = {"heavy": 0.6, "middle": 0.399, "gate": 0.001}


@dataclass
class Built:
    """A candidate of which only the outcome is known."""

    choice: Choice
    sqnr_db: float
    plan: QuantPlan
    doubt_db: float = 0.0

    @property
    def sure_db(self):
        return self.sqnr_db - self.doubt_db

    @property
    def typical_db(self):
        return self.sqnr_db


@dataclass
class Outcomes:
    """A workshop that knows what leaving layers float brings.

    Recovery steps bring as much as is said, but nothing where a layer is left float.
    """

    start_db: float
    gains: dict
    steps_db: float = 0.0
    doubt_db: float = 0.0
    has_biases: bool = False
    calibrators: tuple = ("minmax",)
    tried: list = field(default_factory=list)
    recipe: Recipe = field(default_factory=Recipe)

    def confirm(self, candidate):
        return candidate

    def applies(self, step, candidate):
        return self.has_biases

    def build(self, choice, *, like):
        self.tried.append(frozenset(choice.excluded))
        gain = sum(self.gains.get(name, 0.0) for name in choice.excluded)
        gain += self.steps_db if choice.steps and not choice.excluded else 0.0
        return Built(choice, self.start_db + gain, plan(choice.excluded), self.doubt_db)


@dataclass
class Ranging(Outcomes):
    """A workshop in which ranges of one calibrator are closer once layers are left float."""

    closer: str = "mse"

    def build(self, choice, *, like):
        built = super().build(choice, like=like)
        gain = 2.0 if choice.excluded and choice.calibrators == (self.closer,) else 0.0
        return replace(built, sqnr_db=built.sqnr_db + gain)


class Learning(Outcomes):
    """A workshop in which steps bring as much where a layer is left float."""

    def build(self, choice, *, like):
        built = super().build(replace(choice, steps=frozenset()), like=like)
        gain = self.steps_db if "round" in choice.steps else 0.0
        return replace(built, choice=choice, sqnr_db=built.sqnr_db + gain)


@dataclass
class Foreseen:
    """Moves whose gain is known beforehand."""

    gains: dict

    def ladder(self, limit):
        chosen, gain_db, price = [], 0.0, 0.0
        for name in sorted(self.gains, key=lambda name: -self.gains[name] / SHARES[name]):
            chosen.append(name)
            gain_db, price = gain_db + self.gains[name], price + SHARES[name]
            if price <= limit:
                yield Standing(tuple(chosen), 1 - 10 ** (-gain_db / 10), price)


def plan(excluded=()):
    return QuantPlan(
        decisions=tuple(
            NodeDecision(name, "Conv", NodeForm.FLOAT if name in excluded else NodeForm.STATIC)
            for name in SHARES
        )
    )


@pytest.fixture
def left_float(monkeypatch):
    def run(start_db, foreseen=None, goal_db=20.0, **gains):
        moves = Foreseen(foreseen or gains)
        monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: moves)
        start = Built(Choice(("minmax",)), start_db, plan())
        found = leave_float(Outcomes(start_db, gains), start, SHARES, goal_db)
        return set(found.best.choice.excluded)

    return run


def test_a_layer_that_holds_no_arithmetic_is_given_up_for_little(left_float):
    assert left_float(18.0, gate=0.7) == {"gate"}


def test_a_heavy_layer_is_kept_where_it_would_bring_little(left_float):
    assert left_float(18.0, middle=0.8) == set()


@pytest.mark.parametrize(("start_db", "given_up"), [(17.0, {"middle"}), (21.0, set())])
def test_arithmetic_counts_for_less_while_the_result_is_far_off(left_float, start_db, given_up):
    assert left_float(start_db, middle=2.4, goal_db=24.0) == given_up


def test_a_heavy_layer_is_given_up_where_it_brings_much(left_float):
    assert left_float(17.0, middle=6.0) == {"middle"}


def test_a_result_that_is_no_use_is_bettered_at_any_price(left_float):
    assert left_float(RESCUE_DB - 8.0, middle=2.0) == {"middle"}


def test_some_layer_always_stays_in_integers(left_float):
    assert left_float(-5.0, gate=3.0, middle=3.0, heavy=3.0) < set(SHARES)


def test_a_result_just_below_use_is_bettered_beyond_it(left_float):
    assert left_float(RESCUE_DB - 0.05, gate=3.0) == {"gate"}


def test_what_was_foreseen_and_does_not_come_true_is_taken_back(left_float):
    assert left_float(18.0, foreseen={"gate": 5.0}, gate=0.1) == set()


def test_no_more_is_given_up_than_the_goal_needs(left_float):
    assert left_float(18.0, gate=3.0, middle=6.0) == {"gate"}


def test_what_is_no_closer_than_with_the_steps_of_before_is_taken_back(monkeypatch):
    gains = {"middle": 6.0}
    monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: Foreseen(gains))
    shop = Outcomes(5.0, gains, steps_db=7.0)
    start = shop.build(Choice(("minmax",), steps=frozenset({"round"})), like=None)
    assert leave_float(shop, start, SHARES, 20.0).best is start


def test_what_coupled_steps_replace_takes_their_place():
    plain = Choice(("minmax",)).with_step(steps.EQUALIZE)
    chosen = plain.with_step(steps.ROUND_WEIGHTS).with_step(steps.BIAS_MEASURED)
    assert chosen.steps == {"equalize", "round-weights", "bias-measured"}
    assert chosen.uncoupled() == plain.with_step(steps.BIAS)
    assert chosen.with_step(steps.ROUND).uncoupled() == plain.with_step(steps.BIAS)


def test_a_skipped_step_does_not_come_in_by_way_of_uncoupling():
    chosen = Choice(("minmax",)).with_step(steps.EQUALIZE).with_step(steps.ROUND)
    assert chosen.uncoupled(("bias",)).steps == {"equalize"}


def test_what_made_little_noise_beside_the_worst_is_looked_at_once_that_is_gone(monkeypatch):
    def moves(workshop, start, prices):
        return Foreseen({"middle": 6.0} if "gate" in start.choice.excluded else {"gate": 3.0})

    monkeypatch.setattr(fallback, "moves_of", moves)
    shop = Outcomes(12.0, {"gate": 3.0, "middle": 6.0})
    start = shop.build(Choice(("minmax",)), like=None)
    assert set(leave_float(shop, start, SHARES, 20.0).best.choice.excluded) == {"gate", "middle"}


def test_a_layer_holds_arithmetic_and_weights():
    model = graphs.build(
        """n (float[1,8,6,6] x) => (float[1,8,6,6] z) { [a] y = Conv(x, w) [r] p = Relu(y)
          [b] z = Conv(p, v) }""",
        w=graphs.numbers(0, 8, 8, 3, 3),
        v=graphs.numbers(1, 8, 8, 1, 1),
    )
    assert held(model, {"a": 0.5, "b": 0.5}) == pytest.approx({"a": 0.7, "r": 0.0, "b": 0.3})


@pytest.mark.parametrize(("doubt_db", "given_up"), [(0.0, set()), (1.0, {"gate"})])
def test_how_far_off_a_result_is_counts_the_doubt_that_few_samples_leave(
    monkeypatch, doubt_db, given_up
):
    gains = {"gate": 3.0}
    monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: Foreseen(gains))
    shop = Outcomes(20.5, gains, doubt_db=doubt_db)
    start = shop.build(Choice(("minmax",)), like=None)
    assert set(leave_float(shop, start, SHARES, 20.0).best.choice.excluded) == given_up


def test_layers_are_left_float_with_biases_that_make_up_for_it(monkeypatch):
    gains = {"gate": 3.0}
    monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: Foreseen(gains))
    shop = Outcomes(18.0, gains, has_biases=True)
    found = leave_float(shop, shop.build(Choice(("minmax",)), like=None), SHARES, 20.0)
    assert found.best.choice.steps == {"bias-measured"}


@pytest.mark.parametrize(("has_biases", "skipped"), [(False, ()), (True, ("bias-measured",))])
def test_biases_are_left_as_they_are_where_none_can_or_may_be_corrected(has_biases, skipped):
    shop = Outcomes(18.0, {}, has_biases=has_biases, recipe=Recipe(skip_steps=skipped))
    start = shop.build(Choice(("minmax",), steps=frozenset({"round"})), like=None)
    light = lightly_coupled(shop, start)
    assert light.choice == start.choice.uncoupled(skipped)


@pytest.mark.parametrize(("steps_db", "taken"), [(-0.5, True), (-2.0, False)])
def test_steps_that_learn_more_are_preferred_where_they_are_hardly_behind(
    monkeypatch, steps_db, taken
):
    """They learn from half of the samples only until all is decided."""
    gains = {"gate": 3.0}
    monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: Foreseen(gains))
    shop = Learning(18.0, gains, steps_db=steps_db)
    start = shop.build(Choice(("minmax",), steps=frozenset({"round"})), like=None)
    best = leave_float(shop, start, SHARES, 20.0).best
    assert set(best.choice.excluded) == {"gate"}
    assert ("round" in best.choice.steps) == taken


def test_ranges_are_chosen_anew_once_the_worst_layers_are_float(monkeypatch):
    gains = {"gate": 2.5, "middle": 6.0}
    monkeypatch.setattr(fallback, "moves_of", lambda workshop, start, prices: Foreseen(gains))
    shop = Ranging(17.0, gains, calibrators=("minmax", "mse", "entropy"))
    best = leave_float(shop, shop.build(Choice(("minmax",)), like=None), SHARES, 20.0).best
    assert best.choice.calibrators == ("mse",)
    # 17 + 2.5 + 2 dB are enough: without other ranges another layer would have to be given up.
    assert set(best.choice.excluded) == {"gate"}
