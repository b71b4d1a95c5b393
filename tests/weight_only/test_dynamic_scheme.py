"""The dynamic scheme: one scale where inputs allow it, blocks where they do not."""

from collections import Counter

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.graph.walk import nodes
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.session import Session
from edgeq.targets.cpu import CPU
from edgeq.weight_only.dynamic import quantize_dynamically
from edgeq.weight_only.one_scale import products, rounding_errors

TWO = (
    "n (float[6,64] x) => (float[6,64] y) {"
    " [a] h = MatMul(x, w) [r] z = Relu(h) [b] y = MatMul(z, v) }"
)


def two_layers():
    return graphs.build(TWO, w=graphs.numbers(0, 64, 96), v=graphs.numbers(1, 96, 64))


def with_outliers(model):
    samples = graphs.feeds(model, 3)
    for sample in samples:
        sample["x"][:, 5] *= 500
    return samples


def converted(model, samples, recipe=Recipe()):  # noqa: B008 - frozen
    made, found = quantize_dynamically(model, CPU, recipe, samples)
    return made, {d.node: d for d in found.decisions}


def far(model, made, sample):
    want, got = Session(model).run(sample)["y"], Session(made).run(sample)["y"]
    return float(np.abs(want - got).max() / np.abs(want).max())


def test_ordinary_inputs_take_one_scale():
    model = two_layers()
    samples = graphs.feeds(model, 3)
    made, decisions = converted(model, samples)
    assert {d.form for d in decisions.values()} == {NodeForm.DYNAMIC}
    kernels = Counter(n.op_type for n in executed_graph(made).nodes)
    assert kernels["DynamicQuantizeMatMul"] + kernels["MatMulIntegerToFloat"] == 2
    assert far(model, made, samples[0]) < 0.03


def test_outliers_put_a_layer_into_blocks_and_say_so():
    text = "n (float[6,1024] x) => (float[6,64] y) { [a] y = MatMul(x, w) }"
    weights = graphs.numbers(0, 1024, 64)
    # What the outlier meets is small, as it is behind a normalization.
    weights[5] /= 500
    model = graphs.build(text, w=weights)
    samples = with_outliers(model)
    made, decisions = converted(model, samples)
    assert decisions["a"].form is NodeForm.BLOCKS
    assert "outliers" in decisions["a"].reason
    assert [n.op_type for n in nodes(made)] == ["MatMulNBits"]
    plain, _ = converted(model, graphs.feeds(model, 3))
    # The outlier drowns the 31 numbers in its block, and not all 1023 others.
    assert far(model, made, samples[0]) < 0.4 * far(model, plain, samples[0])


def test_the_error_that_is_predicted_is_the_one_that_is_made():
    model = two_layers()
    samples = graphs.feeds(model, 2)
    errors = rounding_errors(model, products(model), samples)
    alone = {"w": graphs.numbers(0, 64, 96)}
    first = graphs.build("n (float[6,64] x) => (float[6,96] y) { [a] y = MatMul(x, w) }", **alone)
    made, _ = converted(first, samples)
    wrong = signal = 0.0
    for sample in samples:
        want, got = Session(first).run(sample)["y"], Session(made).run(sample)["y"]
        wrong, signal = wrong + np.square(want - got).sum(), signal + np.square(want).sum()
    assert errors["a"] == pytest.approx(wrong / signal, rel=0.05)


def test_a_layer_that_shares_weights_with_an_embedding_shares_its_bytes():
    table = graphs.numbers(0, 200, 64)
    model = graphs.build(
        "t (int64[2,7] i) => (float[2,7,200] y) { [e] h = Gather(t, i) [o] y = MatMul(h, u) }",
        t=table, u=np.ascontiguousarray(table.T),
    )  # fmt: skip
    made, decisions = converted(model, [{"i": np.arange(14).reshape(2, 7)}])
    assert {d.form for d in decisions.values()} == {NodeForm.BLOCKS}
    assert "stored once" in decisions["o"].reason
    assert Counter(n.op_type for n in nodes(made))["MatMulNBits"] == 1


def test_convolutions_stay_float_and_excluded_layers_too():
    text = (
        "n (float[1,4,8,8] x) => (float[1,4,8,8] y) {"
        " [c] h = Conv<pads=[1,1,1,1]>(x, k) [m] z = MatMul(h, w) [k2] y = MatMul(z, v) }"
    )
    model = graphs.build(text, k=graphs.numbers(0, 4, 4, 3, 3), w=graphs.numbers(1, 8, 256),
                         v=graphs.numbers(2, 256, 8))  # fmt: skip
    made, decisions = converted(model, graphs.feeds(model, 2), Recipe(exclude=("k2",)))
    assert decisions["c"].form is NodeForm.FLOAT
    assert decisions["m"].form is NodeForm.DYNAMIC
    assert decisions["k2"].form is NodeForm.FLOAT
    assert "ConvInteger" not in {n.op_type for n in nodes(made)}
    assert decisions["c"].reason == "no fast kernel rounds the input of Conv while it runs"


def test_from_python_without_data():
    model = graphs.proto(TWO, w=graphs.numbers(0, 64, 96), v=graphs.numbers(1, 96, 64))
    result = edgeq.quantize(model, scheme="dynamic", threads=1)
    assert result.passed
    report = result.report.to_dict()
    assert report["coverage"]["ratio"] == 1.0
    assert report["scheme"] == "dynamic"
    assert any("random inputs" in warning for warning in report["warnings"])


def test_products_of_few_weights_stay_float_as_with_blocks():
    text = (
        "n (float[6,64] x) => (float[6,8] y) {"
        " [a] h = MatMul(x, w) [r] z = Relu(h) [b] y = MatMul(z, v) }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 64, 96), v=graphs.numbers(1, 96, 8))
    _, decisions = converted(model, graphs.feeds(model, 3))
    assert decisions["a"].form is NodeForm.DYNAMIC
    assert decisions["b"].form is NodeForm.FLOAT
    assert "768 weights are too few" in decisions["b"].reason


def test_a_recurrent_layer_tells_why_it_has_no_dynamic_kernel():
    """Blocks, which it could not have either, are no reason."""
    text = (
        "n (float[5,1,16] x) => (float[5,1,1,32] y) {"
        ' [l] y = LSTM<hidden_size=32>(x, w, r, "", "", "", "", p) }'
    )
    model = graphs.build(
        text,
        w=graphs.numbers(0, 1, 128, 16), r=graphs.numbers(1, 1, 128, 32),
        p=graphs.numbers(2, 1, 96),
    )  # fmt: skip
    _, decisions = converted(model, graphs.feeds(model, 2))
    assert decisions["l"].form is NodeForm.FLOAT
    assert "peepholes" in decisions["l"].reason
