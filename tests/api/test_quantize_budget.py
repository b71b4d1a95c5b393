"""A budget, a metric without labels, and a recipe that does it again."""

import re
from dataclasses import replace

import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.api.quantizing import _divided
from edgeq.calibration.kept import KeptSamples
from edgeq.errors import DataError, RecipeError
from edgeq.recipe import Recipe, recipe_text
from edgeq.refinement.steps import STEPS
from edgeq.runtime.session import Session
from edgeq.tuning import default
from edgeq.tuning.speed import Hastened
from edgeq.tuning.workshop import Workshop

LAYERS = """n (float[1,8,6,6] x) => (float[1,8] z) {
  [first] a = Conv(x, w0)
  [relu] r = Relu(a)
  [second] b = Conv(r, w1)
  [cut] s = Relu(b)
  [third] t = Conv(s, w2)
  [pool] c = GlobalAveragePool(t)
  [flat] z = Flatten(c)
}"""


def hard(first_name="first", *, biases=False):
    """Channels that differ 3000 times in range between two layers: int8 loses the small ones."""
    text = LAYERS.replace("[first]", f"[{first_name}]")
    first, second, third = (graphs.numbers(seed, 8, 8, 1, 1, scale=0.3) for seed in (0, 1, 2))
    first[0] *= 3000.0
    second[:, 0] /= 3000.0
    added = {}
    if biases:
        text = re.sub(r"w(\d)\)", r"w\1, b\1)", text)
        added = {f"b{seed}": graphs.numbers(seed + 9, 8) for seed in range(3)}
    return graphs.build(text, w0=first, w1=second, w2=third, **added)


def run(model, **options):
    samples = graphs.feeds(model, 8)
    return edgeq.quantize(
        model, samples, evaluation_data=graphs.feeds(model, 12)[8:], threads=1, **options
    )


PLAIN = Recipe(calibrator="minmax", skip_steps=("equalize",))


def test_layers_are_left_float_until_the_budget_holds():
    result = run(hard(), max_drop="1%", metric="signal", recipe=PLAIN)
    budget = result.report.budget
    assert result.passed
    assert budget.met
    assert len(budget.trials) > 1
    assert not budget.trials[0].met
    assert result.report.metric.drop <= 0.01
    assert any(trial.kept and trial.excluded for trial in budget.trials)
    assert result.report.to_dict()["budget"]["allowed"] == pytest.approx(0.01)


def test_a_budget_out_of_reach_fails_with_the_reason():
    result = run(hard(), max_drop="0%", metric="signal", recipe=PLAIN, max_trials=2)
    assert not result.passed
    assert "No candidate keeps the budget" in result.report.budget.reason
    assert len(result.report.budget.trials) <= 2


def test_a_budget_is_kept_by_what_passes_on_all_samples(monkeypatch):
    """What is good on those that candidates are measured on may fail on all that were kept."""

    def confirm(workshop, candidate):
        closeness = replace(candidate.outputs["z"], sqnr_db=5.0)
        return replace(candidate, outputs={"z": closeness})

    monkeypatch.setattr(Workshop, "confirm", confirm)
    result = run(hard(), max_drop=0.9, metric="signal", recipe=PLAIN, max_trials=1)
    assert not result.report.budget.met


def test_learning_and_measuring_share_no_sample_where_they_lie_on_disk():
    kept = KeptSamples(memory=0)
    for index in range(10):
        kept.offer(index, {"x": np.array(index)})
    measured, learning, others = _divided(kept, 32)
    assert [int(s["x"]) for s in others] == [int(s["x"]) for s in learning]
    numbers = [int(sample["x"]) for sample in (*measured, *learning)]
    assert sorted(numbers) == list(range(10))
    assert len(measured) == len(learning)


def test_without_labels_and_metric_agreement_with_fp32_counts():
    result = run(hard(), max_drop=0.5)
    assert result.report.metric.name == "agreement"
    assert result.report.metric.fp32 == 1.0


@pytest.mark.parametrize("metric", [None, "agreement", "signal"])
def test_of_a_model_that_gives_classes_the_equal_ones_count(metric):
    # Two equal channels but for a hundredth: int8 tells them apart in part of the places only.
    weight = np.repeat(graphs.numbers(5, 1, 8, 1, 1), 2, axis=0)
    weight[1] *= 1.01
    head = "n (float[1,8,6,6] x) => (int64[1,6,6] z)"
    lines = "y = Conv(x, w) z = ArgMax<axis=1, keepdims=0>(y)"
    model = graphs.build(f"{head} {{ {lines} }}", w=weight)
    result = run(model, metric=metric, recipe=Recipe("minmax"), max_drop=0.0, max_trials=1)
    candidate, original = Session(result.model), Session(model)
    data = graphs.feeds(model, 12)[8:]
    equal = np.mean([original.run(s)["z"] == candidate.run(s)["z"] for s in data])
    assert equal < 1.0
    assert result.report.metric.candidate == pytest.approx(equal)


def test_data_that_is_read_once_serves_every_trial():
    model = hard()
    data = iter(graphs.feeds(model, 12)[8:])
    result = edgeq.quantize(
        model, graphs.feeds(model, 8), evaluation_data=data, max_drop="1%", metric="signal",
        recipe=PLAIN, threads=1,
    )  # fmt: skip
    assert len(result.report.budget.trials) > 1


@pytest.mark.parametrize(
    ("biases", "skipped", "steps"),
    [
        (False, (), ()),
        (True, (), ("round",)),
        (True, ("round", "round-weights"), ("bias-measured",)),
    ],
)
def test_the_recipe_makes_the_same_model_without_searching(biases, skipped, steps):
    model = hard(biases=biases)
    plain = replace(PLAIN, skip_steps=(*PLAIN.skip_steps, *skipped))
    found = run(model, max_drop="1%", metric="signal", recipe=plain)
    again = run(model, metric="signal", recipe=found.recipe)
    sample = graphs.feeds(model, 1)[0]
    first, second = (Session(each.model).run(sample)["z"] for each in (found, again))
    np.testing.assert_array_equal(first, second)
    assert found.recipe.steps == steps
    assert again.report.steps == ()
    assert again.report.budget is None


def unlike():
    """A model of three layers, one with channels of very different sizes."""
    return graphs.build(
        LAYERS.replace("w0)", "w0, add)"),
        **{f"w{seed}": graphs.numbers(seed, 8, 8, 1, 1, scale=0.3) for seed in range(3)},
        add=np.geomspace(1, 1000, 8).astype(np.float32),
    )


@pytest.fixture
def eager(monkeypatch):
    """Every step that is tried is kept."""
    monkeypatch.setattr(default, "ENOUGH_DB", 200.0)
    monkeypatch.setattr(default, "_comparable", lambda one, other: (0.0, 1.0))


def require_same_bits(one, other):
    first, second = (ir.to_proto(each.model) for each in (one, other))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("steps", [("equalize", "round"), ("bias",), ("bias-measured",)])
def test_a_saved_recipe_makes_the_same_bits(steps, tmp_path):
    others = {step.name for step in STEPS} - set(steps)
    model = unlike()
    data = graphs.feeds(model, 80)
    found = edgeq.quantize(model, data, seed=3, threads=1, skip_steps=tuple(others))
    assert set(found.recipe.steps) == set(steps)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(found.recipe))
    require_same_bits(found, edgeq.quantize(model, data, recipe=path, threads=1))


@pytest.mark.usefixtures("eager")
def test_steps_learn_behind_what_is_left_float_for_speed(monkeypatch):
    """What made up for errors of a layer that is float in the end would be an error itself."""
    learned = []

    def placed(workshop, start, prices, options):
        first = min(start.plan.integer_nodes)
        choice = replace(start.choice, float_for_speed={first: "it is faster"})
        return Hastened(workshop.build(choice, like=start, same_weights=True))

    def again(workshop, candidate):
        learned.append(set(candidate.choice.float_for_speed))
        return learn_again(workshop, candidate)

    learn_again = Workshop.learned_again
    monkeypatch.setattr("edgeq.api.quantizing.hastened_as_asked", placed)
    monkeypatch.setattr(Workshop, "learned_again", again)
    model = unlike()
    data = graphs.feeds(model, 80)
    skipped = tuple({step.name for step in STEPS} - {"round"})
    found = edgeq.quantize(model, data, seed=3, threads=1, skip_steps=skipped)
    assert learned == [set(found.recipe.float_for_speed)]
    assert learned[0]
    require_same_bits(found, edgeq.quantize(model, data, recipe=found.recipe, threads=1))


def test_the_seed_of_a_recipe_is_not_ignored_beside_a_table():
    model = hard()
    table = edgeq.calibrate(model, graphs.feeds(model, 8), recipe=Recipe(seed=4), threads=1)
    assert table.collection.kept.seed == 4
    with pytest.raises(RecipeError, match="kept with seed 4, not 5"):
        edgeq.quantize(model, calibration_table=table, recipe=Recipe(seed=5))


def test_what_steps_did_to_the_model_is_in_the_report():
    text = LAYERS.replace("Relu(a)", "Clip(a, low, high)")
    first, second, third = (graphs.numbers(seed, 8, 8, 1, 1, scale=0.3) for seed in (0, 1, 2))
    first[0] *= 1000.0
    second[:, 0] /= 1000.0
    model = graphs.build(
        text, w0=first, w1=second, w2=third, low=np.float32(0), high=np.float32(1e6)
    )
    told = Recipe(steps=("equalize",), search=False)
    notes = edgeq.quantize(model, graphs.feeds(model, 8), recipe=told, threads=1).report.notes
    assert any("became Relu" in note for note in notes)


def answers(result, model):
    return Session(result.model).run(graphs.feeds(model, 1)[0])["z"]


def test_a_recipe_names_layers_and_no_operators_of_the_same_name(tmp_path):
    model = hard("Conv")
    found = run(model, max_drop="1%", metric="signal", recipe=PLAIN)
    assert "Conv" in found.recipe.left_float
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(found.recipe))
    again = run(model, recipe=path)
    np.testing.assert_array_equal(answers(found, model), answers(again, model))


def test_a_recipe_that_was_found_fits_the_table_that_it_was_found_on():
    model = hard()
    table = edgeq.calibrate(model, graphs.feeds(model, 8), threads=1)
    options = {"evaluation_data": graphs.feeds(model, 12)[8:], "metric": "signal", "threads": 1}
    found = edgeq.quantize(model, calibration_table=table, max_drop="1%", recipe=PLAIN, **options)
    assert found.recipe.left_float
    again = edgeq.quantize(model, calibration_table=table, recipe=found.recipe, **options)
    np.testing.assert_array_equal(answers(found, model), answers(again, model))


def test_a_layer_that_there_is_not_cannot_be_left_float():
    recipe = Recipe(search=False, left_float=("frist",))
    with pytest.raises(RecipeError, match=r"'frist'.*Did you mean 'first'"):
        run(hard(), recipe=recipe)


def test_a_step_that_is_skipped_is_not_taken_from_the_recipe():
    recipe = Recipe("minmax", search=False, steps=("equalize", "bias"))
    assert run(hard(), recipe=recipe, skip_steps=("bias",)).recipe.steps == ("equalize",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_drop": "1%", "max_trials": 0}, "no number of trials"),
        ({"max_drop": "1%", "time_limit": -1.0}, "no time"),
        ({"max_drop": "1%", "time_limit": float("nan")}, "no time"),
        ({"max_drop": "1%", "max_trials": 2, "recipe": Recipe(search=False)}, "nothing to limit"),
        ({"max_drop": "1%", "time_limit": 2, "recipe": Recipe(search=False)}, "nothing to limit"),
        ({"recipe": Recipe(left_float=("first",))}, "left_float: such layers are searched for"),
    ],
)
def test_what_could_not_be_heeded_is_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        run(hard(), **options)


def test_a_metric_with_labels_asks_for_them():
    with pytest.raises(DataError, match="use agreement, cosine or signal"):
        run(hard(), metric="top1")
