import numpy as np
import onnx_ir as ir
import pytest

from edgeq.errors import ModelError
from edgeq.graph.check import check, disorder
from edgeq.graph.loader import load

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
g (float[2] x, bool c) => (float[2] y) {
  t = Relu(x)
  y = If(c) <
    then_branch = a () => (float[2] r) { r = Abs(t) },
    else_branch = b () => (float[2] s) { s = Neg(t) }
  >
}
"""


def model():
    return load(ir.from_onnx_text(TEXT)).model


def test_a_valid_model_passes():
    check(model())


def test_outputs_without_type_pass():
    check(load(ir.from_onnx_text(TEXT.replace("=> (float[2] y)", "=> (y)"))).model)


def test_shared_value_names_are_found_across_bodies():
    bad = model()
    then, other = bad.graph.subgraphs()
    then[0].outputs[0].name = other[0].outputs[0].name
    with pytest.raises(ModelError, match="s: Two values have this name"):
        check(bad)


def test_shared_node_names_are_found():
    bad = model()
    bad.graph[1].name = bad.graph[0].name
    with pytest.raises(ModelError, match="Relu_0: Two nodes have this name"):
        check(bad)


def test_use_before_definition_is_found():
    bad = model()
    first = bad.graph[0]
    bad.graph.remove(first)
    bad.graph.append(first)
    assert disorder(bad) == ("Abs_2", "t")
    with pytest.raises(ModelError, match="Reads 't' before"):
        check(bad)


def test_an_output_nobody_computes_is_found():
    bad = model()
    bad.graph.outputs.append(ir.Value(name="ghost", type=ir.TensorType(ir.DataType.FLOAT)))
    assert disorder(bad) == ("outputs of g", "ghost")


def test_the_checker_is_asked():
    bad = model()
    bad.graph[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match=r"checker rejects the model: .*NoSuchOperator"):
        check(bad)


def test_large_tensors_are_left_out_and_stay_as_they_are():
    big = model()
    tensor = ir.tensor(np.ones(4096, np.float32), name="w")
    value = ir.Value(
        name="w", const_value=tensor, shape=tensor.shape, type=ir.TensorType(ir.DataType.FLOAT)
    )
    big.graph.register_initializer(value)
    attribute = ir.AttrTensor("value", ir.tensor(np.ones(4096, np.float32)))
    big.graph.append(ir.Node("", "Constant", [], [attribute], name="k"))
    big.graph[-1].outputs[0].name = "k"
    check(big)
    assert value.const_value is tensor
    assert big.graph[-1].attributes["value"] is attribute


def test_normalizations_as_the_runtime_writes_them_are_valid_at_any_opset():
    text = """
    <ir_version: 8, opset_import: ["": 13]>
    g (float[2, 4] x, float[4] scale) => (float[2, 4] y) {
      [a] z = SimplifiedLayerNormalization <axis = -1> (x, scale)
      [b] y = LayerNormalization <axis = -1> (z, scale)
    }
    """
    check(ir.from_onnx_text(text))
