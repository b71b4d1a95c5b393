"""What a run says of a target that does not run here, and of machines that saturate."""

import platform

import graphs
import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import RecipeError, UnsupportedError
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph

TEXT = """n (float[1,3,6,6] x) => (float[1,4,6,6] z) {
  [a] y = Conv(x, w) [r] p = Relu(y) [s] q = Sin(p) [b] z = Conv(q, v) }"""


def model(text=TEXT):
    return graphs.proto(text, w=graphs.numbers(1, 4, 3, 1, 1), v=graphs.numbers(2, 4, 4, 1, 1))


def quantized(target, **more):
    proto = model()
    samples = graphs.feeds(graphs.build(TEXT, w=graphs.numbers(1, 4, 3, 1, 1),
                                        v=graphs.numbers(2, 4, 4, 1, 1)), 16)  # fmt: skip
    return edgeq.quantize(proto, samples, target=target, threads=1, **more)


@pytest.fixture(scope="module")
def tensorrt():
    return quantized("tensorrt")


@pytest.mark.parametrize(("target", "stored"), [("tensorrt", False), ("arm64", True)])
def test_tables_are_stored_in_integers_where_those_need_no_pairs(target, stored):
    text = (
        "n (int64[1,3] places) => (float[1,3,4] z) { e = Gather(t, places) [a] z = MatMul(e, w) }"
    )
    weights = {"t": graphs.numbers(3, 1024, 64), "w": graphs.numbers(4, 64, 4)}
    samples = [{"places": np.array([[n, n + 1, n + 2]])} for n in range(16)]
    found = edgeq.quantize(graphs.proto(text, **weights), samples, target=target, threads=1)
    table = next(v for v in found.model.graph.initializers.values() if v.shape == (1024, 64))
    assert (table.dtype is ir.DataType.INT8) is stored


def test_coverage_of_another_program_is_promised(tensorrt):
    coverage = tensorrt.report.coverage
    assert coverage.promised
    assert coverage.ratio == 1.0
    assert coverage.boundary_crossings == 2  # what both layers read; they write floats
    assert tensorrt.report.to_dict()["coverage"]["promised"] is True


def test_times_of_another_program_are_not_known(tensorrt):
    assert tensorrt.report.latency == ()
    assert any("tensorrt is another program" in note for note in tensorrt.report.notes)
    assert tensorrt.passed


def test_closeness_is_measured_all_the_same(tensorrt):
    assert tensorrt.report.outputs["z"].sqnr_db > 20


def test_a_chip_of_another_kind_has_kernels_but_no_times():
    other = "arm64" if platform.machine() in ("x86_64", "AMD64") else "x86-vnni"
    report = quantized(other).report
    assert not report.coverage.promised
    assert report.latency == ()
    assert any(f"{other} does not run on" in note for note in report.notes)


def test_pairs_are_reported_layer_by_layer():
    document = quantized("cpu", recipe=Recipe(pairs="full")).report.to_dict()
    rows = {row["name"]: row for row in document["pair_sums"]}
    assert rows
    assert all(row["weights"] == "full" and row["worst"] > 32767 for row in rows.values())
    assert any("--target x86-avx2" in warning for warning in document["warnings"])


def test_avx2_is_given_no_warning():
    report = quantized("x86-avx2").report
    assert {note.form.value for note in report.pairs} <= {"narrow", "unsigned"}
    assert not any("x86-avx2" in warning for warning in report.warnings)


def test_unsigned_weights_run_in_integer_kernels():
    result = quantized("x86-avx2", recipe=Recipe(pairs="unsigned"))
    made = ir.from_proto(onnx.load_from_string(ir.to_proto(result.model).SerializeToString()))
    kernels = [node.op_type for node in executed_graph(made).nodes]
    assert kernels.count("QLinearConv") == 2
    assert result.report.coverage.ratio == 1.0


def test_a_profile_of_ones_own_is_named_in_the_report(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "cpu"\nsummary = "mine"\npair_sums = "exact"\n')
    report = quantized(str(path)).report
    assert report.target == "mine"
    assert not report.pairs


def test_a_target_that_runs_no_pair_refuses_with_another_way():
    with pytest.raises(UnsupportedError, match="no integer kernel for Conv"):
        quantized("coreml")


def test_fixed_shapes_are_asked_for():
    text = TEXT.replace("float[1,3,6,6]", "float[N,3,6,6]").replace("[1,4,6,6]", "[N,4,6,6]")
    samples = [{"x": graphs.numbers(i, 1, 3, 6, 6)} for i in range(16)]
    with pytest.raises(UnsupportedError) as caught:
        edgeq.quantize(model(text), samples, target="nnapi")
    assert "--fix-shape" in caught.value.remedy


def test_pairs_of_a_recipe_are_checked():
    with pytest.raises(RecipeError, match=r"pairs must be one of .* not 'narow'"):
        quantized("cpu", recipe=Recipe(pairs="narow"))
