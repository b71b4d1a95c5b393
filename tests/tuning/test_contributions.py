"""What each rounding costs at the outputs is measured, and the best bargains come first."""

import graphs
import numpy as np
import pytest
from test_default import chain, workshop

from edgeq.tuning.candidate import Choice
from edgeq.tuning.contributions import (
    Contributions,
    _decisive,
    _divide,
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


class Silent:
    """A bench where no rounding makes any noise."""

    def noise(self, on):
        raise AssertionError("there is nothing to look for")


@pytest.mark.parametrize("refs", [(), ("a", "b")])
def test_no_noise_is_not_looked_for(refs):
    assert dict(_divide(Silent(), refs, 0.0, 0.0)) == dict.fromkeys(refs, 0.0)


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
