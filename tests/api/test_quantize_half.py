"""``float_type="fp16"``: what int8, dynamic and block-wise weights leave float, in float16."""

import graphs
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import RecipeError
from edgeq.recipe import Recipe, load_recipe, recipe_text

TEXT = """net (float[1,16,8,8] x) => (float[1,16,8,8] y) {
  [first] h = Conv<pads = [1, 1, 1, 1]>(x, w) [gate] g = Sigmoid(h) [mix] m = Mul(h, g)
  [last] y = Conv(m, v)
}"""
WEIGHTS = {"w": graphs.numbers(9, 16, 16, 3, 3, scale=0.1), "v": graphs.numbers(8, 16, 16, 1, 1)}
SAMPLES = [{"x": graphs.numbers(seed, 1, 16, 8, 8)} for seed in range(8)]


def quantized(target="cpu", **options):
    given = {"exclude": ["first"], "threads": 1, "latency_tuning": False, **options}
    return edgeq.quantize(graphs.proto(TEXT, **WEIGHTS), SAMPLES, target=target, **given)


@pytest.mark.parametrize(("target", "form"), [("cpu", "stored"), ("tensorrt", "half")])
def test_it_takes_half_the_bytes_and_keeps_the_interface(target, form):
    plain, narrow = (quantized(target, float_type=each) for each in ("fp32", "fp16"))
    assert narrow.passed
    assert {v.dtype for v in (*narrow.model.graph.inputs, *narrow.model.graph.outputs)} == {
        ir.DataType.FLOAT
    }
    saved = plain.report.candidate_bytes - narrow.report.candidate_bytes
    # The weights of one layer in two bytes a number, less a few nodes.
    assert 0.8 < saved / (2 * WEIGHTS["w"].size) < 1.1
    assert narrow.report.outputs["y"].sqnr_db > plain.report.outputs["y"].sqnr_db - 1.0
    (decision,) = [each for each in narrow.plan.decisions if each.node == "first"]
    assert decision.form.value == form
    assert decision.reason.startswith("excluded by the recipe; it")
    assert any("float16" in note for note in narrow.report.notes)


@pytest.mark.parametrize(("target", "computed"), [("cpu", False), ("tensorrt", True)])
def test_arithmetic_counts_as_float16_only_where_it_is(target, computed):
    found = quantized(target, float_type="fp16").report.to_dict()["coverage"]
    assert (found["macs"]["fp16"] > 0) is computed
    assert (found["macs"]["float"] == 0) is computed
    assert found["macs"]["int8"] > 0
    (left,) = found["float_nodes"]
    assert left["name"] == "first"
    assert "float16" in left["reason"]


def test_layers_are_compared_all_the_same():
    found = quantized("tensorrt", float_type="fp16").report
    assert {layer.name for layer in found.layers} >= {"last"}
    assert not any("not compared" in note for note in found.notes)


def test_the_recipe_makes_the_same_model_again(tmp_path):
    first = quantized("tensorrt", float_type="fp16")
    file = tmp_path / "r.toml"
    file.write_text(recipe_text(first.recipe))
    assert load_recipe(file).float_type == "fp16"
    again = quantized("tensorrt", recipe=file, exclude=[])
    assert ir.to_proto(again.model) == ir.to_proto(first.model)


def test_a_table_serves_both(tmp_path):
    model, recipe = graphs.proto(TEXT, **WEIGHTS), Recipe(exclude=("first",), float_type="fp16")
    table = edgeq.calibrate(model, SAMPLES, target="tensorrt", recipe=recipe, threads=1)
    found = edgeq.quantize(
        model, calibration_table=table, target="tensorrt", recipe=recipe, threads=1
    )
    assert found.report.coverage.half > 0


@pytest.mark.parametrize("scheme", ["dynamic", "w8"])
def test_other_schemes_leave_layers_float_as_well(scheme):
    text = TEXT.replace("[last] y = Conv(m, v)", "[last] y = MatMul(m, u)").replace(
        "float[1,16,8,8] y", "float[1,16,8,256] y"
    )
    model = graphs.proto(text, w=WEIGHTS["w"], u=graphs.numbers(7, 8, 256))
    found = edgeq.quantize(model, SAMPLES, scheme=scheme, float_type="fp16", threads=1)
    forms = {each.node: each.form.value for each in found.plan.decisions}
    assert forms["first"] == "stored"
    assert forms["last"] in ("dynamic", "blocks")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"float_type": "fp61"}, "float_type must be one of fp32, fp16, not 'fp61'"),
        ({"float_type": "fp16", "scheme": "bf16"}, "says what all floats become"),
        ({"float_type": "fp16", "target": "qnn-htp"}, "target qnn-htp is not known to compute"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        quantized(**options)
