"""Weights in blocks, from Python: data or none in, a model that has been run out."""

import decoders
import graphs
import onnx_ir as ir
import pytest

import edgeq
from edgeq.api import finishing
from edgeq.errors import RecipeError, UnsupportedError
from edgeq.graph import loader, walk
from edgeq.graph.interface import Interface


def perceptron():
    text = (
        "net (float[n,64] x) => (float[n,48] y) {"
        " [one] a = MatMul(x, w) [act] h = Relu(a) [two] y = Gemm(h, v, b) }"
    )
    return graphs.proto(
        text, w=graphs.numbers(0, 64, 128, scale=0.2), v=graphs.numbers(1, 128, 48, scale=0.2),
        b=graphs.numbers(2, 48),
    )  # fmt: skip


@pytest.mark.parametrize(("form", "fused"), [("operator", 4), ("qdq", 0)])
def test_rotations_are_fused_where_the_runtime_has_operators_of_its_own(form, fused):
    model = decoders.decoder(rotated=True)
    fed = [decoders.fed(9, 3, batch=2, seed=seed) for seed in range(3)]
    result = edgeq.quantize(model, fed, scheme="w8", weight_format=form, threads=1)
    operators = [node.op_type for node in walk.nodes(result.model)]
    assert operators.count("RotaryEmbedding") == fused
    assert result.report.outputs["logits"].sqnr_db > 30


@pytest.mark.parametrize("angles", [decoders.ANGLES, decoders.STRETCHED])
def test_the_angles_of_rotations_stay_as_they_are(angles):
    model = decoders.decoder(rotated=True, places=1024, angles=angles)
    result = edgeq.quantize(model, scheme="w8", threads=1)
    nodes = list(walk.nodes(result.model))
    reasons = [decision.reason for decision in result.plan.decisions]
    assert sum("angles of rotations" in reason for reason in reasons) == 2
    assert sum(node.op_type == "RotaryEmbedding" for node in nodes) == 4


def samples(count=8):
    return [{"x": graphs.numbers(10 + i, 5, 64)} for i in range(count)]


def test_without_data_the_report_says_that_closeness_is_not_proven():
    result = edgeq.quantize(perceptron(), scheme="w4", threads=1)
    assert result.passed
    report = result.report.to_dict()
    assert report["scheme"] == "w4"
    assert report["calibrator"] == "k-quant"
    assert report["samples"] == 0
    assert any("random inputs" in warning for warning in report["warnings"])
    assert report["coverage"]["macs"]["nbits"] == report["coverage"]["total"] > 0


def test_with_data_the_layers_learn_from_it_and_the_result_is_judged_on_it():
    result = edgeq.quantize(perceptron(), samples(), scheme="w4", threads=1)
    report = result.report.to_dict()
    assert report["calibrator"] == "gptq"
    assert report["samples"] == 8
    assert report["accuracy"]["outputs"]["y"]["sqnr_db"] > 15
    assert not any("random" in warning for warning in report["warnings"])
    assert [row["method"] for row in report["blocks"]] == ["gptq", "gptq"]
    assert {row["bits"] for row in report["blocks"]} == {4}
    assert report["size"]["ratio"] < 0.25


def outlying():
    text = (
        "net (float[n,64] x) => (float[n,48] y) {"
        " h = LayerNormalization<axis=-1>(x, s) [one] a = MatMul(h, w) [act] g = Softmax(a)"
        " [two] y = MatMul(g, v) }"
    )
    scale = graphs.numbers(3, 64)
    scale[[3, 40]] *= 30
    return graphs.proto(
        text, s=scale, w=graphs.numbers(0, 64, 128, scale=0.05), v=graphs.numbers(1, 128, 48)
    )


@pytest.mark.parametrize("method", ["awq", "auto"])
def test_inputs_are_scaled_where_that_needs_no_further_node(method):
    plain, scaled = (
        edgeq.quantize(outlying(), samples(), scheme="w4", method=each, threads=1)
        for each in ("k-quant", method)
    )
    kinds = [[node.op_type for node in result.model.graph] for result in (plain, scaled)]
    assert kinds[0] == kinds[1]
    one, two = scaled.report.to_dict()["blocks"]
    assert one["method"].startswith("awq+")
    assert "awq" not in two["method"]
    assert one["sqnr_db"] > plain.report.to_dict()["blocks"][0]["sqnr_db"]
    assert any("Softmax hands it over" in note for note in scaled.report.notes)


def test_the_result_fits_the_callers_of_the_original(tmp_path):
    model = perceptron()
    result = edgeq.quantize(model, scheme="w8", validate=False, threads=1)
    path = tmp_path / "small.onnx"
    result.save(path)
    saved = ir.load(path)
    assert Interface.of(saved) == Interface.of(loader.load(model).model)
    assert path.stat().st_size < 0.45 * model.ByteSize()


def test_a_result_that_is_far_off_fails():
    result = edgeq.quantize(
        perceptron(), samples(), scheme="w2", method="rtn", block_size=64, threads=1, validate=True
    )
    assert not result.passed
    assert "SQNR" in result.report.verdict.failures[0]


def test_bits_of_single_layers():
    result = edgeq.quantize(
        perceptron(), scheme="w4", layer_bits={"two": 8}, validate=False, threads=1
    )
    assert [row.bits for row in result.report.blocks] == [4, 8]
    with pytest.raises(RecipeError, match="matches no node"):
        edgeq.quantize(perceptron(), scheme="w4", layer_bits={"three": 8}, threads=1)


def test_the_standard_form_raises_the_opset():
    result = edgeq.quantize(
        perceptron(), samples(), scheme="w4", weight_format="qdq", validate=False, threads=1
    )
    assert result.model.opset_imports[""] == 21
    assert "com.microsoft" not in result.model.opset_imports


def test_a_model_without_matrices_is_refused():
    text = "c (float[1,2,8,8] x) => (float[1,4,8,8] y) { y = Conv<pads=[1,1,1,1]>(x, k) }"
    model = graphs.proto(text, k=graphs.numbers(0, 4, 2, 3, 3))
    with pytest.raises(UnsupportedError, match="reaches nothing"):
        edgeq.quantize(model, scheme="w4", threads=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheme": "w4", "method": "gptq"}, "--calib"),
        ({"scheme": "w4", "method": "awq"}, "--calib"),
        ({"scheme": "w4", "method": "gtpq"}, "Did you mean"),
        ({"scheme": "w4", "block_size": 48}, "power of two"),
        ({"scheme": "w4", "weight_format": "qqd"}, "Did you mean"),
        ({"scheme": "w2", "weight_format": "qdq"}, "no type of 2 bits"),
        ({"scheme": "w4", "layer_bits": {"one": 3}}, "3 bits"),
        ({"scheme": "w4", "calibrator": "mse"}, "finds no ranges"),
        ({"scheme": "int8", "block_size": 32}, "no weights in blocks"),
    ],
)
def test_wrong_choices_are_refused_before_any_work(options, said):
    with pytest.raises(RecipeError, match=said):
        edgeq.quantize("missing.onnx", **options)


def test_a_metric_is_held_against_a_budget():
    result = edgeq.quantize(
        perceptron(), samples(), scheme="w8", evaluation_data=samples(4), metric="cosine",
        max_drop=0.01, threads=1,
    )  # fmt: skip
    assert result.passed
    assert result.report.metric.name == "cosine"


def test_a_target_without_onnxruntimes_operators_takes_the_standard_form():
    with pytest.raises(RecipeError, match="--format qdq"):
        edgeq.quantize("missing.onnx", scheme="w4", target="tensorrt")
    result = edgeq.quantize(
        perceptron(), scheme="w4", target="tensorrt", weight_format="qdq", validate=False, threads=1
    )
    assert result.passed


def test_eight_bits_are_stored_without_learning_unless_a_method_is_named(monkeypatch):
    def refuse(*_given, **_named):
        raise AssertionError("inputs were gathered")

    monkeypatch.setattr("edgeq.api.conversions.SequentialMoments", refuse)
    result = edgeq.quantize(perceptron(), samples(), scheme="w8", threads=1)
    assert result.report.calibrator == "k-quant"
    assert result.passed
    with pytest.raises(AssertionError, match="gathered"):
        edgeq.quantize(perceptron(), samples(), scheme="w8", method="k-quant", threads=1)


def test_the_report_tells_which_runtime_is_needed_where_any_will_not_do():
    def needs(**options):
        return edgeq.quantize(perceptron(), threads=1, **options).report.to_dict()["needs"]

    in_bytes = {"onnxruntime": "1.22", "for": ["MatMulNBits with 8 bits"]}
    assert needs(scheme="w8") == in_bytes
    assert needs(scheme="w4", layer_bits={"two": 8}) == in_bytes
    assert needs(scheme="w4") is None
    assert needs(scheme="w8", weight_format="qdq") is None


def test_a_runtime_here_that_is_too_old_is_told_before_anything_is_run(monkeypatch):
    monkeypatch.setattr(finishing, "VERSION", "1.21.1")
    with pytest.raises(UnsupportedError, match=r"1\.22 or newer .* and 1\.21\.1 is installed"):
        edgeq.quantize(perceptron(), scheme="w8", threads=1)
    assert edgeq.quantize(perceptron(), scheme="w4", threads=1).passed
