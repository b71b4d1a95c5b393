"""What is faster stays, as far as it is as close; a saved recipe does it again without timing."""

from dataclasses import replace

import graphs
import onnx_ir as ir
import pytest
from test_workshop import workshop

from edgeq.quantization.annotate import annotate
from edgeq.quantization.eligibility import bridges
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.profile import NodeTime
from edgeq.targets.cpu import CPU
from edgeq.tuning import candidate, speed
from edgeq.tuning.candidate import Choice, settled
from edgeq.tuning.clock import Clock
from edgeq.tuning.default import search

PRICES = {"first": 0.02, "last": 0.98}


def swish():
    return graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
          [first] a = Conv(x, w)
          [gate] g = HardSigmoid(a)
          [gated] b = Mul(a, g)
          [last] z = Conv(b, w)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )


@pytest.fixture
def shop(monkeypatch):
    return bridged_shop(monkeypatch)


def bridged_shop(monkeypatch, calibrator="minmax"):
    model = swish()
    samples = graphs.feeds(model)
    crossing = bridges(model, CPU)

    def everything(*arguments):
        return annotate(*arguments, bridged=crossing)

    monkeypatch.setattr("test_workshop.annotate", everything)
    return workshop(model, samples, calibrator=calibrator)


def timed(monkeypatch, speedups, *profiles, faster=True):
    """Let timing give these answers: speed-ups in order, and (node, microseconds) by profile.

    ``faster`` is whether a candidate is found to be faster than the original.
    """
    answers, looks = iter(speedups), iter([[("whole", 1000.0)], *profiles])
    monkeypatch.setattr(Clock, "speedup", lambda *_: next(answers))
    monkeypatch.setattr(Clock, "is_faster", lambda *_: faster)

    def look(*_):
        return tuple(NodeTime(n, "Conv", 0.0, t) for n, t in next(looks, ()))

    monkeypatch.setattr(Clock, "profiles", lambda _, *models: tuple(map(look, models)))


def by_model(in_float, in_integers):
    """Profiles that tell quantized models by their conversions."""

    def profile(model):
        quantized = any(node.op_type == "QuantizeLinear" for node in model.graph)
        times = in_integers if quantized else in_float
        return tuple(NodeTime(n, "Conv", 0.0, t) for n, t in times)

    return lambda _, *models: tuple(map(profile, models))


def form(candidate, node):
    return next(d.form for d in candidate.plan.decisions if d.node == node)


def test_bridges_that_are_faster_stay(shop, monkeypatch):
    timed(monkeypatch, [1.3])
    found = speed.hasten(shop, shop.build(Choice(("minmax",))), PRICES)
    assert found.best.choice.integer_for_speed == {"gate", "gated"}
    assert form(found.best, "gated") is NodeForm.STATIC
    assert "1.30 times as fast" in found.notes[0]


def test_bridges_that_are_not_faster_are_taken_back(shop, monkeypatch):
    timed(monkeypatch, [1.01])
    start = shop.build(Choice(("minmax",)))
    found = speed.hasten(shop, start, PRICES)
    assert found.best is start
    assert found.notes == ()


def test_a_run_too_short_to_be_timed_is_left_alone(shop, monkeypatch):
    timed(monkeypatch, [])
    monkeypatch.setattr(speed, "_LEAST_US", 2000.0)
    start = shop.build(Choice(("minmax",)))
    assert speed.hasten(shop, start, PRICES).best is start


def test_bridges_that_cost_too_much_are_not_even_timed(shop, monkeypatch):
    timed(monkeypatch, [])
    monkeypatch.setattr(speed, "BEARABLE_DB", -100.0)
    monkeypatch.setattr(candidate, "CLOSE_DB", 500.0)
    start = shop.build(Choice(("minmax",)))
    assert speed.hasten(shop, start, PRICES).best is start


def test_bridges_take_the_ranges_that_keep_them_close(monkeypatch):
    timed(monkeypatch, [1.3])
    shop = bridged_shop(monkeypatch, "auto")
    start = shop.build(Choice(("percentile",)))
    # Cut ranges do for what stands between float operators, and not for what they carry.
    kept = {("minmax",), ("mse",)}
    monkeypatch.setattr(speed, "_is_close_enough", lambda each, _: each.choice.calibrators in kept)
    found = speed.hasten(shop, start, PRICES)
    both = [shop.build(replace(found.best.choice, calibrators=names)) for names in kept]
    assert found.best.choice.calibrators in kept
    assert found.best.sqnr_db == max(each.sqnr_db for each in both)
    assert f"the ranges of {found.best.choice.calibrators[0]}" in found.notes[0]


def test_a_layer_that_is_slower_in_integers_stays_float_and_says_why(shop, monkeypatch):
    in_float, mixed = [("first", 1.0), ("last", 50.0)], [("first", 90.0), ("last", 10.0)]
    timed(monkeypatch, [1.0, 1.5], in_float, mixed)
    found = speed.hasten(shop, shop.build(Choice(("minmax",))), PRICES)
    assert set(found.best.choice.float_for_speed) == {"first"}
    assert form(found.best, "first") is NodeForm.FLOAT
    reason = next(d.reason for d in found.best.plan.decisions if d.node == "first")
    assert "1 microseconds, 90 in integers" in reason


def test_most_of_the_arithmetic_stays_in_integers_however_slow_it_is(shop, monkeypatch):
    timed(monkeypatch, [1.0], [("last", 1.0)], [("last", 90.0)])
    start = shop.build(Choice(("minmax",)))
    assert speed.hasten(shop, start, PRICES).best is start


@pytest.mark.parametrize("faster", [True, False])
def test_more_than_that_is_left_float_only_to_be_as_fast_as_the_original(shop, monkeypatch, faster):
    in_float, in_integers = [("first", 1.0), ("last", 9.0)], [("first", 90.0), ("last", 9.0)]
    timed(monkeypatch, [1.0, *[1.5] * 9], faster=faster)
    monkeypatch.setattr(speed, "_LEAST_US", 0.0)
    monkeypatch.setattr(Clock, "profiles", by_model(in_float, in_integers))
    start = shop.build(Choice(("minmax",)))
    found = speed.hasten(shop, start, {"first": 0.4, "last": 0.6})
    assert (form(found.best, "first") is NodeForm.FLOAT) is not faster
    assert any("slower than the original" in note for note in found.notes) is not faster


def test_no_set_of_layers_is_timed_twice_however_much_may_be_left_float(shop, monkeypatch):
    in_float, in_integers = [("first", 1.0), ("last", 9.0)], [("first", 90.0), ("last", 9.0)]
    timed(monkeypatch, [1.0, *[1.0] * 9], faster=False)
    monkeypatch.setattr(speed, "_LEAST_US", 0.0)
    monkeypatch.setattr(Clock, "profiles", by_model(in_float, in_integers))
    start, tried, build = shop.build(Choice(("minmax",))), [], shop.build

    def watched(choice, **options):
        tried.append(frozenset(choice.float_for_speed))
        return build(choice, **options)

    monkeypatch.setattr(shop, "build", watched)
    assert speed.hasten(shop, start, {"first": 0.1, "last": 0.9}).best is start
    assert [each for each in tried if each] == [frozenset({"first"})]


def test_gates_of_their_own_input_are_told_from_gates_of_others():
    model = graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
          [own] g = Sigmoid(x)
          [silu] a = Mul(x, g)
          [pool] p = GlobalAveragePool(a)
          [other] h = HardSigmoid(p)
          [excite] z = Mul(a, h)
        }"""
    )
    assert speed.own_gates(model) == {"own", "silu"}
    assert bridges(model, CPU) == {"own", "silu", "other", "excite"}


def test_a_choice_names_all_that_is_float_and_why():
    choice = Choice(("minmax",), excluded={"a": "far off"}, float_for_speed={"b": "slow"})
    assert choice.left_float == {"a": "far off", "b": "slow"}
    assert replace(choice, excluded={}).left_float == {"b": "slow"}


def test_a_saved_recipe_makes_the_same_model_without_timing(shop, monkeypatch):
    in_float, mixed = [("first", 1.0), ("last", 50.0)], [("first", 90.0), ("last", 10.0)]
    timed(monkeypatch, [1.3, 1.5], in_float, mixed)
    found = speed.hasten(shop, shop.build(Choice(("minmax",))), PRICES).best
    assert found.choice.integer_for_speed
    assert found.choice.float_for_speed
    recipe = settled(Recipe(calibrator="minmax"), found.choice, seed=0)
    monkeypatch.setattr(shop, "recipe", recipe)
    timed(monkeypatch, [])
    told = search(shop, ("minmax",), PRICES).best
    assert ir.to_proto(told.model) == ir.to_proto(found.model)
