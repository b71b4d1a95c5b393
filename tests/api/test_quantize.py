"""The whole of it, from Python: any source in, a model that has been run out."""

import json

import graphs
import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import DataError, RecipeError, UnsupportedError, ValidationFailed
from edgeq.graph import loader
from edgeq.graph.interface import Interface

KEYS = {
    "schema", "verdict", "model", "scheme", "target", "calibrator", "samples", "size", "accuracy",
    "coverage", "latency", "timings", "peak_rss_mb", "warnings", "layers", "environment",
}  # fmt: skip


def quantize(model, data, **options):
    """Without timing, which these tests do not need."""
    return edgeq.quantize(model, data, validate=False, calibrator="minmax", threads=1, **options)


def data_of(result):
    return ir.to_proto(result.model).SerializeToString(deterministic=True)


class Reader:
    """onnxruntime's way of giving calibration data."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        return next(self.samples, None)


@pytest.fixture(scope="module")
def whole():
    """One run with everything switched on."""
    return edgeq.quantize(models.conv_net(), models.images(20), threads=1)


@pytest.fixture(scope="module")
def plain():
    return quantize(models.conv_net(), models.images(8))


def test_a_default_run_is_good(whole):
    assert whole.passed
    assert whole.report.verdict.failures == ()
    assert whole.report.coverage.ratio == 1.0
    assert Interface.of(whole.model) == Interface.of(loader.load(models.conv_net()).model)
    samples = models.images(4, seed=50)
    assert graphs.closeness(loader.load(models.conv_net()).model, whole.model, samples) > 25


def test_the_report_has_the_keys_of_the_contract(whole):
    document = json.loads(whole.report.to_json())
    assert document.keys() >= KEYS
    assert document["schema"] == 1
    assert document["verdict"] == "good"
    assert document["model"].keys() >= {"path", "sha256", "opset", "inputs", "outputs"}
    assert document["size"].keys() == {"fp32_bytes", "candidate_bytes", "ratio"}
    assert document["accuracy"]["outputs"]["scores"].keys() == {
        "sqnr_db", "cosine", "max_abs_error", "top1_agreement"
    }  # fmt: skip
    coverage = document["coverage"]
    assert coverage["macs"].keys() == {"int8", "int16", "nbits", "fp16", "float"}
    assert coverage.keys() >= {"total", "ratio", "float_nodes", "leftover_qdq"}
    for comparison in document["latency"]:
        assert comparison.keys() == {"threads", "fp32", "candidate", "speedup"}
        assert comparison["fp32"].keys() == {"median_ms", "p25_ms", "p75_ms"}
    assert {"name", "op_type", "sqnr_db"} <= document["layers"][0].keys()
    assert {"onnxruntime", "isa"} <= document["environment"].keys()
    assert document["needs"] is None


def test_the_report_tells_where_the_time_went(whole):
    stages = {stage["name"]: stage for stage in whole.report.to_dict()["stages"]}
    assert stages.keys() == whole.report.timings.keys()
    for name, stage in stages.items():
        assert stage["seconds"] == pytest.approx(whole.report.timings[name], abs=1e-3)
        parts = stage["parts"]
        assert sum(part["seconds"] for part in parts) <= stage["seconds"] + 0.01
        assert sum(part["running"] for part in parts) <= stage["running"] + 0.01
    assert all(stages[name]["running"] > 0.0 for name in ("calibrate", "quantize", "validate"))
    assert [part["name"] for part in stages["quantize"]["parts"]][:2] == ["ranges", "pairs"]


@pytest.mark.parametrize("kind", ["path", "bytes", "proto", "ir"])
def test_every_source_gives_the_same_model(kind, plain, tmp_path):
    proto = models.conv_net()
    onnx.save(proto, tmp_path / "net.onnx")
    source = {
        "path": tmp_path / "net.onnx",
        "bytes": proto.SerializeToString(),
        "proto": proto,
        "ir": ir.from_proto(proto),
    }[kind]
    assert data_of(quantize(source, models.images(8))) == data_of(plain)


@pytest.mark.parametrize("kind", ["list", "generator", "reader"])
def test_every_kind_of_data_gives_the_same_model(kind, plain):
    samples = models.images(8)
    data = {"list": samples, "generator": (s for s in samples), "reader": Reader(samples)}[kind]
    assert data_of(quantize(models.conv_net(), data)) == data_of(plain)


def test_the_model_that_was_given_is_never_changed():
    proto = models.conv_net()
    before = proto.SerializeToString(deterministic=True)
    model = ir.from_proto(proto)
    quantize(model, models.images(4))
    quantize(proto, models.images(4))
    assert proto.SerializeToString(deterministic=True) == before
    assert ir.to_proto(model).SerializeToString(deterministic=True) == ir.to_proto(
        ir.from_proto(models.conv_net())
    ).SerializeToString(deterministic=True)


def test_the_seed_alone_decides_on_the_result():
    samples = models.images(80)
    first, again = (quantize(models.conv_net(), samples, seed=5) for _ in range(2))
    assert data_of(first) == data_of(again)
    assert first.plan.to_json() == again.plan.to_json()


def test_samples_beyond_the_largest_number_are_not_read():
    result = quantize(models.conv_net(), models.images(8), max_samples=5)
    assert result.report.samples == 5


def test_a_good_result_is_saved_and_runs(whole, tmp_path):
    whole.save(tmp_path / "out.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"), full_check=True)
    samples = models.images(2)
    saved = loader.load(tmp_path / "out.onnx").model
    assert graphs.closeness(whole.model, saved, samples, graphs.UNOPTIMIZED) == 200.0


def failing(tmp_path):
    """A run whose metric drops further than allowed."""
    metric = tmp_path / "metric.py"
    metric.write_text(
        "n = [1.0]\n\ndef score(outputs, labels):\n    return n.pop() if n else 0.5\n"
    )
    models.save_stack(tmp_path / "e.npz", models.images(4), class_=np.zeros(4))
    return quantize(
        models.conv_net(),
        models.images(4),
        evaluation_data=tmp_path / "e.npz",
        metric=f"{metric}:score",
        max_drop=0.1,
    )


def test_a_failed_result_is_not_saved_unless_asked_for(tmp_path):
    result = failing(tmp_path)
    assert not result.passed
    with pytest.raises(ValidationFailed, match=r"drop of 0\.5"):
        result.save(tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
    result.save(tmp_path / "out.onnx", even_if_failed=True)
    assert (tmp_path / "out.onnx").exists()


def test_excluded_nodes_stay_float_and_are_reported(plain):
    result = quantize(models.conv_net(), models.images(4), exclude=["inner"])
    reasons = {d.node: d.reason for d in result.plan.decisions}
    assert reasons["inner"] == "excluded by the recipe"
    assert {d.node: d.reason for d in plain.plan.decisions}["inner"] == ""


def test_branches_are_quantized_inside():
    result = quantize(models.branches(), models.branch_rows(8))
    forms = {d.node: d.form.value for d in result.plan.decisions}
    assert forms["wide_product"] == forms["plain_product"] == "dynamic"


@pytest.mark.parametrize("opset", [9, 11, 12, 21])
def test_models_of_any_opset_are_taken(opset):
    text = """n (float[1,3,8,8] x) => (float[1,4,3,3] z) { [c] y = Conv(x, w)
        [r] p = Relu(y) [m] z = MaxPool<kernel_shape=[2,2], strides=[2,2]>(p) }"""
    model = graphs.proto(text, opset, w=graphs.numbers(0, 4, 3, 3, 3))
    samples = [{"x": graphs.numbers(i, 1, 3, 8, 8)} for i in range(4)]
    assert quantize(model, samples).report.outputs["z"].sqnr_db > 30


@pytest.mark.parametrize("shape", [(1, 4), (1,), ()])
def test_a_gemm_with_factors_and_any_bias_runs_in_integers(shape):
    text = "n (float[2,6] x) => (float[2,4] z) { [g] z = Gemm<alpha=0.5, beta=2.0>(x, w, b) }"
    model = graphs.proto(text, w=graphs.numbers(0, 6, 4), b=np.full(shape, 0.3, np.float32))
    samples = [{"x": graphs.numbers(i, 2, 6)} for i in range(4)]
    result = quantize(model, samples)
    assert [d.form.value for d in result.plan.decisions] == ["dynamic"]
    assert result.report.outputs["z"].sqnr_db > 30


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"target": "cpuu"}, RecipeError, "Did you mean 'cpu'"),
        ({"scheme": "int9"}, RecipeError, "int8"),
        ({"metric": "accuracy"}, RecipeError, "need evaluation data"),
        ({"max_trials": 3}, RecipeError, "no budget to search for"),
        ({"skip_steps": ["bais"]}, RecipeError, "unknown step 'bais'"),
    ],
)
def test_wrong_options_are_refused_with_a_remedy(options, error, said):
    with pytest.raises(error, match=said):
        quantize(models.conv_net(), models.images(2), **options)


def test_what_cannot_be_quantized_is_refused():
    with pytest.raises(UnsupportedError, match="quantized already"):
        quantize(models.quantized(), models.rows(2))
    with pytest.raises(UnsupportedError, match="no convolution"):
        quantize(models.elementwise(), models.rows(2))
    with pytest.raises(DataError, match="no samples"):
        quantize(models.conv_net(), [])


class Rename(ir.passes.InPlacePass):
    """A pass of somebody else."""

    def call(self, model):
        model.producer_name = "somebody"
        return ir.passes.PassResult(model, modified=True)


def test_the_pass_fits_between_passes_of_others():
    samples = models.images(8)
    quantizing = edgeq.QuantizePass(samples, validate=False, calibrator="minmax", threads=1)
    pipeline = ir.passes.Sequential(Rename(), quantizing, Rename())
    model = ir.from_proto(models.conv_net())
    done = pipeline(model)
    assert done.modified
    assert {n.op_type for n in done.model.graph} >= {"QuantizeLinear", "Conv"}
    assert "QuantizeLinear" not in {n.op_type for n in model.graph}
    assert quantizing.result.passed
    assert done.model is quantizing.result.model


def test_the_pass_raises_when_the_result_is_not_good(tmp_path):
    metric = tmp_path / "metric.py"
    metric.write_text(
        "n = [1.0]\n\ndef score(outputs, labels):\n    return n.pop() if n else 0.5\n"
    )
    models.save_stack(tmp_path / "e.npz", models.images(4), class_=np.zeros(4))
    quantizing = edgeq.QuantizePass(
        models.images(4), validate=False, evaluation_data=tmp_path / "e.npz",
        metric=f"{metric}:score", max_drop=0.1, calibrator="minmax",
    )  # fmt: skip
    with pytest.raises(ValidationFailed, match=r"drop of 0\.5"):
        quantizing(ir.from_proto(models.conv_net()))
    assert not quantizing.result.passed
