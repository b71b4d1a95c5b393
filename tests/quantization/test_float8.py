"""Float8 between Q/DQ in front of products, for targets with kernels for it."""

from collections import Counter

import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import RecipeError
from edgeq.graph import check, constants, opset
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.float8 import LARGEST, quantize_to_float8, read_by_products
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.session import Session, SessionConfig

TELLING = SessionConfig(1, entries={"session.disable_quant_qdq": "1"})
GRID = np.arange(256, dtype=np.uint8).view(ir.DataType.FLOAT8E4M3FN.numpy()).astype(np.float64)


def rounded(text, largest, recipe=None, **weights):
    model = graphs.build(text, 21, **weights)
    copy = model.clone()
    decisions = quantize_to_float8(copy, recipe or Recipe(), largest)
    check.check(copy)
    return model, copy, {d.node: d for d in decisions}


def nearest(data, scale):
    """The nearest multiple of the scale that float8 holds."""
    finite = np.unique(GRID[np.isfinite(GRID)])
    ratio = (data / scale)[..., None]
    return (finite[np.abs(finite - ratio).argmin(-1)] * scale).astype(np.float32)


PRODUCTS = {
    "MatMul": ("y = MatMul(x, w)", (8, 6), (4, 8), 1),
    "Gemm": ("y = Gemm<transB=1>(x, w, b)", (6, 8), (4, 8), 0),
    "Conv": ("y = Conv(x, w, b)", (6, 8, 3), (1, 8, 5), 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_multiplies_what_float8_holds(name):
    call, shape, reads, axis = PRODUCTS[name]
    makes = {"Conv": "1,6,3"}.get(name, "4,6")
    text = f"n (float[{','.join(map(str, reads))}] x) => (float[{makes}] y) {{ [p] {call} }}"
    weights = graphs.numbers(0, *shape) * np.exp(graphs.numbers(1, *shape))
    given = {"w": weights} | ({} if name == "MatMul" else {"b": graphs.numbers(2, 6)})
    model, copy, decisions = rounded(text, {"x": 3.0}, **given)
    assert decisions["p"].form is NodeForm.STORED
    kinds = Counter(n.op_type for n in nodes(copy))
    assert kinds == {name: 1, "QuantizeLinear": 1, "DequantizeLinear": 2}
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True) / LARGEST
    plain = next(n for n in model.graph if node_name(n) == "p")
    plain.inputs[1].const_value = ir.Tensor(nearest(weights, scale), name="w")
    sample = {"x": np.clip(graphs.numbers(3, *reads, scale=2), -4, 4)}
    near = {"x": np.clip(nearest(sample["x"], 3.0 / LARGEST), -3, 3)}
    want, got = Session(model).run(near)["y"], Session(copy, TELLING).run(sample)["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


NET = (
    "n (float[4,64] x, float[4,64] z) => (float[4,4] y, float[4,64] u) {"
    " [one] a = MatMul(x, w) [two] u = MatMul(x, v) t = Transpose(z) [pair] y = MatMul(a, t) }"
)
WEIGHTS = {"w": graphs.numbers(0, 64, 64), "v": graphs.numbers(1, 64, 64)}


def test_a_value_is_rounded_once_for_all_that_read_it():
    assert read_by_products(graphs.build(NET, 21, **WEIGHTS), Recipe()) == ("x",)
    _, copy, decisions = rounded(NET, {"x": 2.0}, **WEIGHTS)
    assert Counter(n.op_type for n in nodes(copy))["QuantizeLinear"] == 1
    assert "computed" in decisions["pair"].reason


@pytest.mark.parametrize(
    ("largest", "recipe", "said"),
    [
        ({}, Recipe(), "no sample"),
        ({"x": 0.0}, Recipe(), "no sample"),
        ({"x": 2.0}, Recipe(exclude=("one",)), "excluded"),
    ],
)
def test_what_stays_float_says_why(largest, recipe, said):
    _, copy, decisions = rounded(NET, largest, recipe, **WEIGHTS)
    assert said in decisions["one"].reason
    one = next(n for n in nodes(copy) if node_name(n) == "one")
    assert constants.tensor(one.inputs[1]).dtype is ir.DataType.FLOAT


def model():
    return graphs.proto(
        "n (float[4,64] x) => (float[4,64] y) { h = MatMul(x, w) a = Relu(h) y = MatMul(a, v) }",
        **WEIGHTS,
    )


def test_a_target_with_kernels_gets_a_model_that_was_run():
    samples = [{"x": graphs.numbers(i, 4, 64)} for i in range(4)]
    result = edgeq.quantize(model(), samples, scheme="fp8", target="tensorrt", threads=1)
    assert result.passed
    report = result.report.to_dict()
    assert report["accuracy"]["outputs"]["y"]["sqnr_db"] > 20
    assert report["size"]["ratio"] < 0.4
    assert report["coverage"]["macs"]["int8"] == 0
    assert opset.default_opset(result.model) == 21


@pytest.mark.parametrize(
    ("target", "samples", "said"),
    [
        ("cpu", [{"x": graphs.numbers(0, 4, 64)}], "takes no float8"),
        ("tensorrt", None, "how large inputs get"),
    ],
)
def test_without_kernels_or_samples_it_is_refused(target, samples, said):
    with pytest.raises(RecipeError, match=said):
        edgeq.quantize(model(), samples, scheme="fp8", target=target, threads=1)


def test_samples_of_many_lengths_show_how_large_inputs_get():
    text = "n (float[1,8,L] x) => (float[1,6,M] y) { [p] y = Conv(x, w) }"
    model = graphs.proto(text, 21, w=graphs.numbers(0, 6, 8, 3))
    samples = [{"x": graphs.numbers(length, 1, 8, length)} for length in (5, 9, 12)]
    result = edgeq.quantize(model, samples, scheme="fp8", target="tensorrt", threads=1)
    assert [d.form for d in result.plan.decisions] == [NodeForm.STORED]
    largest = max(float(np.abs(sample["x"]).max()) for sample in samples)
    (scale,) = [
        constants.scalar(node.inputs[1])
        for node in nodes(result.model)
        if node.op_type == "QuantizeLinear"
    ]
    assert scale == pytest.approx(largest / LARGEST)
