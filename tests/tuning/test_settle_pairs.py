"""What the search does about pairs of products that saturate, target by target."""

from dataclasses import replace

import graphs
import numpy as np
import pytest

from edgeq.calibration.collector import collect
from edgeq.errors import RecipeError
from edgeq.quantization.annotate import annotate
from edgeq.quantization.pairs import LIMIT, PairForm, reduction, worst_sum
from edgeq.quantization.ranges import calibrators_for, required_kinds
from edgeq.recipe import Recipe
from edgeq.targets import target_named
from edgeq.tuning import candidate, settle_pairs
from edgeq.tuning.candidate import Choice, settled
from edgeq.tuning.default import search
from edgeq.tuning.workshop import Workshop
from edgeq.validation.coverage import count_macs, shares

TEXT = """n (float[1,8,6,6] x) => (float[1,8,6,6] z) {
  [a] y = Conv(x, w) [r] p = Relu(y) [b] z = Conv(p, v) }"""


def shop(target, recipe=None):
    model = graphs.build(TEXT, w=graphs.numbers(1, 8, 8, 1, 1), v=graphs.numbers(2, 8, 8, 1, 1))
    recipe, target = recipe or Recipe("minmax"), target_named(target)
    calibrators = calibrators_for("minmax")
    samples = graphs.feeds(model, 8)
    names = [ref.name for ref in annotate(model, target, recipe).observed()]
    found = collect(model, names, samples, required_kinds(calibrators), threads=1)
    return Workshop(model, model, target, recipe, found, calibrators, samples, samples, threads=1)


def found(target, recipe=None):
    made = shop(target, recipe)
    model = made._floats.behind(()).model
    prices = shares(count_macs(model, made.samples[0]))
    return search(made, ("minmax",), prices)


def saturating(candidate):
    """Layers of the quantized model of which two products pass the limit."""
    nodes = {node.name: node for node in candidate.model.graph}
    count = 0
    for name in ("a", "b"):
        stored = nodes[name].inputs[1].producer().inputs[0].const_value.numpy()
        order = reduction(candidate.adjusted.graph.node(name), 1)
        count += stored.dtype == np.int8 and worst_sum(stored, order) > LIMIT
    return count


def test_a_portable_model_is_safe_where_that_costs_little():
    result = found("cpu")
    assert result.best.choice.pairs is PairForm.NARROW
    assert saturating(result.best) == 0
    assert any("2 layers are raised" in note for note in result.notes)


def test_a_portable_model_keeps_8_bits_where_accuracy_forbids(monkeypatch):
    monkeypatch.setattr(candidate, "CLOSE_DB", 500.0)
    monkeypatch.setattr(settle_pairs, "ALLOWED_DB", -10.0)
    best = found("cpu").best
    assert best.choice.pairs is PairForm.FULL
    assert saturating(best) == 2
    assert {note.form for note in best.plan.pairs} == {PairForm.FULL}


@pytest.mark.parametrize("allowed", [True, False])
def test_for_avx2_no_pair_is_ever_left(monkeypatch, allowed):
    if not allowed:
        monkeypatch.setattr(candidate, "CLOSE_DB", 500.0)
        monkeypatch.setattr(settle_pairs, "ALLOWED_DB", -10.0)
    best = found("x86-avx2").best
    assert best.choice.pairs is (PairForm.NARROW if allowed else PairForm.UNSIGNED)
    assert saturating(best) == 0


@pytest.mark.parametrize("name", ["x86-vnni", "arm64", "wasm"])
def test_targets_that_add_in_32_bits_keep_8_bits(name):
    best = found(name).best
    assert best.choice.pairs is PairForm.FULL
    assert not best.plan.pairs


def test_a_recipe_decides_and_is_kept():
    recipe = Recipe("minmax", pairs="unsigned")
    best = found("cpu", recipe).best
    assert best.choice.pairs is PairForm.UNSIGNED
    again = settled(recipe, best.choice, 0)
    assert again.pairs == "unsigned"
    told = found("cpu", again).best
    assert told.choice.pairs is PairForm.UNSIGNED


def test_avx2_refuses_a_recipe_that_lets_sums_saturate():
    with pytest.raises(RecipeError, match="no weights may saturate"):
        found("x86-avx2", Recipe("minmax", pairs="full"))


@pytest.mark.parametrize("step", ["round", "round-weights"])
def test_rounding_steps_bring_no_pair_back(step):
    made = shop("x86-avx2")
    choice = Choice(("minmax",), steps=frozenset({step}), pairs=PairForm.NARROW)
    assert saturating(made.build(choice)) == 0
    full = replace(choice, pairs=PairForm.FULL)
    assert saturating(made.build(full)) == 2
