"""Costs from files: checked, bound to their model, and used in place of measuring."""

import json

import graphs
import pytest
from test_speed import PRICES, form, shop  # noqa: F401 - a fixture
from test_workshop import workshop

from edgeq.errors import RecipeError
from edgeq.quantization.plan import NodeForm
from edgeq.tuning.candidate import Choice
from edgeq.tuning.costs import Costs, Rate
from edgeq.tuning.costs_file import CostsFile, DeviceProfile, costs_text, read_costs
from edgeq.tuning.costs_file import require_same_model as require
from edgeq.tuning.given import GivenCosts, Predictor, hasten_by

FREE = Rate(0.0, 0.0)
SHA = "ab" * 32


def written(tmp_path, document):
    path = tmp_path / "costs.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def profile(nodes, **more):
    rows = [{"name": n, "op_type": o, "provider": "CPU", "microseconds": t} for n, o, t in nodes]
    runtime = {"name": "onnxruntime", "version": "1.23.0"}
    return {"schema": 1, "device": "adb://", "runtime": runtime, "nodes": rows, **more}


def given(tmp_path, floating, integer, rate=FREE):
    costs = Costs(floating, integer, rate, rate, {})
    file = read_costs(written(tmp_path, costs_text(costs, SHA, {"device": "phone"})))
    return GivenCosts((file,))


def test_what_is_written_is_read_again(tmp_path):
    costs = Costs({"a": 1.5}, {"a": 0.25}, Rate(2.0, 0.125), Rate(1.0, 0.0), {"x": 5})
    path = written(tmp_path, costs_text(costs, SHA, {"device": "phone", "threads": 2}))
    found = read_costs(path)
    assert found == CostsFile(
        path, SHA, "device phone, threads 2", {"a": 1.5}, {"a": 0.25}, costs.quantize,
        costs.dequantize,
    )  # fmt: skip


def test_a_profile_of_a_device_is_read_with_original_names(tmp_path):
    rows = [("conv_nchwc", "Conv", 7.0), ("ReorderInput", "ReorderInput", 1.0)]
    found = read_costs(written(tmp_path, profile(rows, model={"sha256": SHA})))
    assert isinstance(found, DeviceProfile)
    assert [(t.name, t.microseconds) for t in found.times] == [("conv", 7.0), ("ReorderInput", 1.0)]
    assert (found.sha256, found.has_integers) == (SHA, False)
    assert found.measured_on == "adb://, onnxruntime 1.23.0"


GOOD = json.loads(costs_text(Costs({"a": 1.0}, {}, FREE, FREE, {}), SHA, {"device": "x"}))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("no json", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([], "neither"),
        ({**GOOD, "schema": 2}, "schema is 2"),
        ({**GOOD, "floating_us": {"a": -1}}, "no time"),
        ({**GOOD, "floating_us": {"a": "1"}}, "no number"),
        ({**GOOD, "floating_us": {"a": True}}, "no number"),
        ({**GOOD, "floating_us": [1]}, "no table"),
        ({**GOOD, "model": {"sha256": 5}}, "no text"),
        ({k: v for k, v in GOOD.items() if k != "quantize"}, "'quantize' is missing"),
        (json.dumps({**GOOD, "floating_us": {"a": float("nan")}}), "no time"),
        ({**profile([]), "nodes": {}}, "no list"),
        (profile([("a", "Conv", None)]), "no number"),
    ],
)
def test_what_is_no_costs_is_refused(tmp_path, document, said):
    with pytest.raises(RecipeError, match=said):
        read_costs(written(tmp_path, document))


def test_a_missing_file_is_the_users_mistake(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the costs"):
        read_costs(tmp_path / "none.json")


def test_costs_of_another_model_are_refused_with_both_hashes(tmp_path):
    files = given(tmp_path, {"a": 1.0}, {"a": 2.0}).files
    require(files, SHA)
    with pytest.raises(RecipeError, match=f"{SHA[:16]}, this one has {'cd' * 8}"):
        require(files, "cd" * 32)


def test_a_float_profile_of_another_model_is_refused_and_one_side_is_not_enough(tmp_path):
    in_float = read_costs(written(tmp_path, profile([("a", "Conv", 1.0)], model={"sha256": SHA})))
    mixed = read_costs(written(tmp_path, profile([("a", "QLinearConv", 1.0)])))
    require([in_float, mixed], SHA)
    with pytest.raises(RecipeError, match="this one has"):
        require([in_float, mixed], "cd" * 32)
    with pytest.raises(RecipeError, match="take in integers"):
        require([in_float], SHA)
    with pytest.raises(RecipeError, match="take in float"):
        require([mixed], SHA)


def test_a_layer_that_costs_say_is_slow_in_integers_goes_to_float(shop, tmp_path):  # noqa: F811
    costs = given(tmp_path, {"first": 1.0, "last": 50.0}, {"first": 90.0, "last": 10.0})
    found = hasten_by(shop, shop.build(Choice(("minmax",))), PRICES, costs)
    assert form(found.best, "first") is NodeForm.FLOAT
    assert form(found.best, "last") is NodeForm.STATIC
    assert found.notes == (
        "1 layers stay float: predicted 9.09 times as fast by costs of device phone",
    )


def test_bridges_are_crossed_where_costs_say_so_and_know_them(shop, tmp_path):  # noqa: F811
    start = shop.build(Choice(("minmax",)))
    floating = {"first": 50.0, "last": 50.0, "gate": 30.0, "gated": 30.0}
    integer = {"first": 10.0, "last": 10.0}
    dear = Rate(10.0, 0.0)
    assert hasten_by(shop, start, PRICES, given(tmp_path, floating, integer, dear)).best is start
    known = {**integer, "gate": 3.0, "gated": 3.0}
    found = hasten_by(shop, start, PRICES, given(tmp_path, floating, known, dear))
    assert found.best.choice.integer_for_speed == {"gate", "gated"}
    assert "predicted" in found.notes[0]


def test_nothing_is_timed(shop, tmp_path, monkeypatch):  # noqa: F811
    def fail(*_):
        raise AssertionError("timed")

    monkeypatch.setattr("edgeq.tuning.speed.Clock", fail)
    costs = given(tmp_path, {"first": 1.0, "last": 50.0}, {"first": 90.0, "last": 10.0})
    hasten_by(shop, shop.build(Choice(("minmax",))), PRICES, costs)


def chain():
    return graphs.build(
        """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
          [first] a = Conv(x, w)
          [soft] b = Softplus(a)
          [last] z = Conv(b, w)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )


def test_a_candidate_takes_the_sum_of_its_nodes_and_conversions():
    model = chain()
    made = workshop(model, graphs.feeds(model))
    start = made.build(Choice(("minmax",)))
    floating = {"first": 20.0, "soft": 5.0, "last": 30.0}
    elements = {"x": 10, "a": 10, "b": 10, "z": 10}
    costs = Costs(floating, {"first": 2.0, "last": 3.0}, Rate(1.0, 0.1), Rate(0.5, 0.05), elements)
    predictor = Predictor(made, start, costs)
    assert predictor.original_us() == pytest.approx(55.0)
    # Two values become integers (1 + 10 * 0.1 each), two come back (0.5 + 10 * 0.05 each).
    assert predictor.microseconds(start) == pytest.approx(2.0 + 5.0 + 3.0 + 2 * 2.0 + 2 * 1.0)
    partly = made.build(start.choice.with_excluded(["first"], "asked for"), like=start)
    assert predictor.microseconds(partly) == pytest.approx(20.0 + 5.0 + 3.0 + 2.0 + 1.0)


def test_profiles_of_both_models_make_costs(tmp_path):
    model = chain()
    made = workshop(model, graphs.feeds(model))
    start = made.build(Choice(("minmax",)))
    quantizes = next(n.name for n in start.model.graph if n.op_type == "QuantizeLinear")
    in_float = profile([("first", "Conv", 20.0), ("soft", "Softplus", 5.0), ("last", "Conv", 30.0)])
    mixed = profile(
        [("first", "QLinearConv", 4.0), ("last", "QLinearConv", 6.0), ("soft", "Softplus", 5.0),
         (quantizes, "QuantizeLinear", 3.0)]
    )  # fmt: skip
    files = []
    for place, document in enumerate((in_float, mixed)):
        path = tmp_path / f"{place}.json"
        path.write_text(json.dumps(document))
        files.append(read_costs(path))
    costs = GivenCosts(tuple(files)).costs(made, start)
    assert costs.floating == {"first": 20.0, "soft": 5.0, "last": 30.0}
    assert costs.integer == {"first": 4.0, "last": 6.0}
    assert costs.quantize.of(4 * 8 * 8) == pytest.approx(3.0)


def test_an_integer_kernel_of_no_node_of_the_model_is_refused_by_name(tmp_path):
    model = chain()
    made = workshop(model, graphs.feeds(model))
    file = read_costs(written(tmp_path, profile([("other", "QLinearConv", 4.0)])))
    with pytest.raises(RecipeError, match="QLinearConv 'other'"):
        GivenCosts((file,)).costs(made, made.build(Choice(("minmax",))))


def test_costs_that_know_no_layer_on_both_sides_decide_nothing(tmp_path):
    model = chain()
    made = workshop(model, graphs.feeds(model))
    costs = given(tmp_path, {"first": 1.0, "elsewhere": 2.0}, {"last": 3.0})
    with pytest.raises(RecipeError, match="of 2 layers 2 are named"):
        costs.costs(made, made.build(Choice(("minmax",))))
