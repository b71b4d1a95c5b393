"""Models as they are found: what `edgeq.quantize` promises whatever exported them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import edgeq
from edgeq.errors import UnsupportedError
from edgeq.graph.interface import Interface
from tests import models


def quantized(model, samples):
    result = edgeq.quantize(model, samples)
    assert result.passed, result.report.verdict.failures
    assert Interface.of(result.model) == Interface.of(ir.from_proto(model))
    return result


def half(model):
    """The model with float16 everywhere, inputs and outputs included."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        data = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(data, tensor.name))
    for port in (*copy.graph.input, *copy.graph.output):
        port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return copy


def test_a_float16_model_runs_in_integers_and_keeps_its_interface():
    samples = [{k: v.astype(np.float16) for k, v in s.items()} for s in models.images(16)]
    result = quantized(half(models.conv_net()), samples)
    assert result.report.coverage.ratio == 1.0
    assert any("float16" in note for note in result.report.notes)


def test_a_model_with_noise_inside_is_compared_under_the_same_noise():
    text = """
    net (float[N, 16] x) => (float[N, 8] y) {{
        [product] a = MatMul (x, w)
        [noise] n = RandomNormalLike (a)
        [sum] y = Add (a, n)
    }}
    """
    model = models.build(text, w=models.numbers(0, 16, 8))
    result = quantized(model, models.rows(16))
    assert all("seed" not in node.attributes for node in result.model.graph)


def test_a_result_that_would_be_useless_is_rescued_by_float_layers():
    text = """
    net (float[N, 16] x) => (float[N, 8] y) {{
        [first] a = MatMul (x, w0)
        [square] b = Mul (a, a)
        [floor] c = Max (b, tiny)
        [log] d = Log (c)
        [second] y = MatMul (d, w1)
    }}
    """
    model = models.build(
        text,
        w0=models.numbers(0, 16, 64),
        w1=models.numbers(1, 64, 8),
        tiny=np.array(1e-12, np.float32),
    )
    quantized(model, models.rows(24))


def test_samples_that_alternate_between_branches_are_all_measured():
    result = quantized(models.branches(), models.branch_rows(32))
    assert result.report.coverage.ratio == 1.0


def test_einsum_layers_are_quantized_as_matrix_products():
    text = """
    net (float[N, L, 16] x) => (float[N, L, 8] y) {{
        [heads] a = Einsum <equation = "abc,cde->abde"> (x, w0)
        [out] y = Einsum <equation = "abcd,cde->abe"> (a, w1)
    }}
    """
    model = models.build(text, w0=models.numbers(0, 16, 2, 4), w1=models.numbers(1, 2, 4, 8))
    samples = [{"x": models.numbers(i, 1, 3 + i % 4, 16)} for i in range(16)]
    assert quantized(model, samples).report.coverage.ratio == 1.0


@pytest.mark.parametrize("times", [1, 2])
def test_outputs_may_be_listed_twice_or_be_inputs(times):
    model = models.mlp()
    for _ in range(times):
        model.graph.output.append(model.graph.input[0])
    model.graph.output.append(model.graph.output[0])
    quantized(model, models.rows(16))


def listed_as_inputs(model, count):
    for tensor in model.graph.initializer[:count]:
        dims = list(tensor.dims)
        port = onnx.helper.make_tensor_value_info(tensor.name, onnx.TensorProto.FLOAT, dims)
        model.graph.input.append(port)
    return model


def test_weights_that_some_exporters_list_as_inputs_are_weights():
    model = listed_as_inputs(models.conv_net(), None)
    result = edgeq.quantize(model, models.images(16))
    assert result.report.coverage.ratio == 1.0
    assert [value.name for value in result.model.graph.inputs] == ["image"]
    assert any("listed as inputs" in note for note in result.report.notes)


def test_a_weight_that_alone_is_an_input_may_be_replaced_by_callers():
    model = models.build(
        "net (float[N, 16] x) => (float[N, 4] y) {{ y = MatMul (x, w) }}",
        w=models.numbers(0, 16, 4),
    )
    with pytest.raises(UnsupportedError, match="compute nodes"):
        edgeq.quantize(listed_as_inputs(model, 1), models.rows(16))


def test_excluding_a_node_that_was_merged_into_another_is_told():
    text = """
    net (float[N, 16] x) => (float[N, 8] y) {{
        [left] a = MatMul (x, w)
        [right] b = MatMul (x, w)
        [sum] y = Add (a, b)
    }}
    """
    model = models.build(text, w=models.numbers(0, 16, 8))
    result = edgeq.quantize(model, models.rows(16), exclude=["right"])
    assert any("'right' has no effect" in note for note in result.report.notes)
