"""What each rounding costs at the outputs is measured, and the best bargains come first."""

import graphs
import numpy as np
import pytest
from test_default import chain, workshop

from edgeq.runtime.session import Session
from edgeq.tuning.candidate import Choice
from edgeq.tuning.contributions import (
    Contributions,
    _decisive,
    _divide,
    _Group,
    _noise,
    measure_contributions,
)
from edgeq.tuning.fallback import moves_of
from edgeq.tuning.moves import Moves, roundings
from edgeq.types import EdgeRef, ValueRef


def measured(model, samples):
    shop = workshop(model, samples)
    built = shop.build(Choice(("minmax",)))
    found = measure_contributions(built.floats.model, built.adjusted, built.plan, samples)
    return shop, built, found


def test_the_value_that_ruins_the_output_makes_most_of_the_noise():
    model = chain(outlier=2000.0)
    _, _, found = measured(model, graphs.feeds(model, 2))
    worst = max(found.alone, key=found.alone.get)
    assert worst.name == "y"
    assert found.share([worst]) > 0.8


def test_together_is_the_noise_of_the_quantized_model():
    model = chain()
    samples = graphs.feeds(model, 3)
    _, built, found = measured(model, samples)
    assert 10 ** (-built.sqnr_db / 10) == pytest.approx(found.together, rel=0.2)


class Bench:
    """A bench where each rounding makes a noise that is known."""

    def __init__(self, noises):
        self._noises = noises
        self.measured = []

    def noise(self, on):
        self.measured.append("".join(on))
        return float(sum(self._noises[ref] for ref in on))


def divided(noises, small=0.0, most=100):
    bench = Bench(noises)
    whole = _Group(bench, tuple(noises), float(sum(noises.values())))
    return _divide([whole], small, lambda: len(bench.measured) < most), bench.measured


@pytest.mark.parametrize("refs", [(), ("a", "b")])
def test_no_noise_is_not_looked_for(refs):
    noises = dict.fromkeys(refs, 0.0)
    assert divided(noises) == (noises, [])


def test_noisy_roundings_are_told_apart_and_quiet_ones_are_not():
    noises = {"a": 0.1, "b": 0.1, "c": 8.0, "d": 1.0}
    assert divided(noises, small=0.5) == (noises, ["ab", "cd", "c", "d"])
    uneven = {**noises, "a": 0.0, "b": 0.2}
    assert divided(uneven, small=0.5)[0] == noises


def test_the_noisiest_are_told_apart_first_as_long_as_there_is_time():
    noises = {"a": 1.0, "b": 2.0, "c": 8.0, "d": 4.0}
    found, measured = divided(noises, most=4)
    assert measured == ["ab", "cd", "c", "d"]
    assert found == {**noises, "a": 1.5, "b": 1.5}


def test_of_a_slow_model_fewer_samples_are_run(monkeypatch):
    model = chain(outlier=2000.0)
    monkeypatch.setattr("edgeq.tuning.contributions._SECONDS", 0.0)
    samples, fed = graphs.feeds(model, 3), []
    run = Session.run
    monkeypatch.setattr(
        Session, "run", lambda self, sample, *more: fed.append(sample) or run(self, sample, *more)
    )
    shop = workshop(model, samples)
    built = shop.build(Choice(("minmax",)))
    fed.clear()
    found = measure_contributions(built.floats.model, built.adjusted, built.plan, samples)
    assert {each["x"].tobytes() for each in fed} == {samples[0]["x"].tobytes()}
    assert found.together == pytest.approx(sum(found.alone.values()))


def test_an_output_that_is_a_sequence_makes_no_noise():
    text = """n (float[1,8,6,6] x) => (seq(float[1,8,6,6]) s, float[1,8,6,6] z) {
      y = Conv(x, w) z = Relu(y) s = SequenceConstruct(y, z) }"""
    model = graphs.build(text, w=graphs.numbers(0, 8, 8, 1, 1, scale=0.3))
    assert 0 < measured(model, graphs.feeds(model, 2))[2].together < 0.01


def test_noise_is_measured_in_front_of_what_saturates():
    model = graphs.build(
        """n (float[1,8,6,6] x) => (float[1,8,6,6] z) {
          [a] y = Conv(x, w) [big] u = Mul(y, large) [s] z = Sigmoid(u) }""",
        w=graphs.numbers(0, 8, 8, 1, 1, scale=0.3),
        large=graphs.numbers(0, 1) * 0 + 1000.0,
    )
    found = measured(model, graphs.feeds(model, 2))[2]
    assert found.share([EdgeRef("a", 1)]) > 0
    assert found.together < 10 ** (-20 / 10)


@pytest.mark.parametrize(
    ("maker", "decisive"),
    [("s = Sigmoid(y)", ["p", "y"]), ("s = Neg(y)", ["z"])],
)
def test_noise_of_scores_is_told_from_that_of_boxes_beside_them(maker, decisive):
    model = graphs.build(
        f"""n (float[1,8,6,6] x) => (float[1,16,6,6] z) {{
          p = Exp(x) y = Sin(x) {maker} z = Concat<axis=1>(p, s) }}"""
    )
    assert [name for name, _ in _decisive(model.graph.outputs[0])] == decisive


def test_the_ladder_begins_with_the_best_bargain_and_keeps_within_its_limit():
    model = chain(outlier=2000.0)
    samples = graphs.feeds(model, 2)
    shop, built, _ = measured(model, samples)
    prices = {"a": 0.3, "b": 0.3, "c": 0.4}
    moves: Moves = moves_of(shop, built, prices)
    rungs = list(moves.ladder(0.7))
    assert {"a", "b"} == set(rungs[0].excluded)
    assert rungs[0].freed > 0.8
    assert all(rung.price <= 0.7 for rung in rungs)
    assert not list(moves.ladder(0.1))


def test_the_ladder_goes_on_behind_what_makes_nearly_all_of_the_noise():
    model = chain()
    shop, built, _ = measured(model, graphs.feeds(model, 2))
    refs = roundings(shop.annotations(built))
    loud = ValueRef("y")
    alone = {ref: 1.0 if ref == loud else 0.003 / len(refs) for ref in refs}
    moves = Moves(
        model,
        lambda further: shop.annotations(built, further),
        Contributions(alone, 1.0),
        {"a": 0.3, "b": 0.3, "c": 0.4},
    )
    last = list(moves.ladder(2.0))[-1]
    assert set(last.excluded) == {"a", "b", "c"}


def test_errors_in_front_of_a_softmax_count_as_far_as_they_change_probabilities():
    logits = np.array([[2.0, 1.0, -30.0]])
    alike = logits + 5.0
    assert _noise(logits, alike, 1) == pytest.approx(0.0, abs=1e-12)
    unlikely = logits + np.array([0.0, 0.0, 3.0])
    assert _noise(logits, unlikely, 1) < 1e-9
    errors = np.array([[1e-3, -1e-3, 0.0]])
    odds, other = (np.exp(x) / np.exp(x).sum() for x in (logits, logits + errors))
    divergence = float((odds * np.log(odds / other)).sum())
    assert _noise(logits, logits + errors, 1) == pytest.approx(2 * divergence, rel=1e-2)


def test_a_common_error_of_all_logits_is_no_noise():
    model = graphs.build(
        """n (float[4,8] x) => (float[4,8] z) {
          [a] y = MatMul(x, w) [big] u = Add(y, large) [s] z = Softmax(u) }""",
        w=graphs.numbers(0, 8, 8, scale=0.3),
        large=graphs.numbers(0, 1) * 0 + 100.0,
    )
    found = measured(model, graphs.feeds(model, 2))[2]
    assert 0.0 < found.together < 0.1
