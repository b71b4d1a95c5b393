"""``a16w8``: 8-bit weights, 16-bit activations, for targets that take them."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import RecipeError

TEXT = """net (float[1,3,8,8] x) => (float[1,4,8,8] y) {
  [conv] h = Conv<pads = [1, 1, 1, 1]>(x, w)
  [gate] g = Sigmoid(h)
  [mix] y = Mul(h, g)
}"""
SAMPLES = [{"x": graphs.numbers(seed, 1, 3, 8, 8)} for seed in range(8)]


def quantized(scheme, target="qnn-htp"):
    model = graphs.proto(TEXT, w=graphs.numbers(9, 4, 3, 3, 3))
    return edgeq.quantize(model, SAMPLES, scheme=scheme, target=target, threads=1)


@pytest.fixture(scope="module")
def wide():
    return quantized("a16w8")


def test_activations_have_sixteen_bits_and_weights_eight(wide):
    made = {node.name: node for node in wide.model.graph}
    kinds = {
        value.dtype
        for node in made.values()
        if node.op_type == "QuantizeLinear"
        for value in node.outputs
    }
    assert kinds == {ir.DataType.UINT16}
    weight = made["conv"].inputs[1].producer().inputs[0]
    assert weight.dtype == ir.DataType.INT8
    assert wide.model.opset_imports[""] >= 21


def test_the_report_counts_them_as_such(wide):
    assert wide.report.scheme == "a16w8"
    macs = wide.report.to_dict()["coverage"]["macs"]
    assert macs["int16"] > 0
    assert macs["int8"] == 0
    assert wide.report.coverage.ratio == 1.0


def test_it_is_closer_than_eight_bits(wide):
    assert wide.report.outputs["y"].sqnr_db > quantized("int8").report.outputs["y"].sqnr_db + 1


def test_sigmoid_has_the_scale_that_the_target_wants(wide):
    (pair,) = [
        node
        for node in wide.model.graph
        if node.op_type == "QuantizeLinear"
        and node.inputs[0].producer() is not None
        and node.inputs[0].producer().op_type == "Sigmoid"
    ]
    scale, zero = (float(pair.inputs[i].const_value.numpy()) for i in (1, 2))
    assert (scale, zero) == (np.float32(1 / 65536), 0.0)


def test_a_target_without_them_is_refused():
    with pytest.raises(RecipeError, match="takes no activations of 16 bits") as raised:
        quantized("a16w8", target="cpu")
    assert "qnn-htp" in str(raised.value)
