import onnx_ir as ir
import pytest
from onnx_ir.passes.common import NameFixPass

from edgeq.errors import ModelError
from edgeq.graph.check import check
from edgeq.graph.loader import load
from edgeq.graph.naming import definitions, detached, graphs, rename, unique_names
from edgeq.graph.saver import to_proto

SIBLINGS = """
<ir_version: 8, opset_import: ["": 17]>
g (float[2] x, bool c) => (float[2] y) {
  t = Relu(x)
  z = If(c) <
    then_branch = a () => (float[2] r) { t2 = Neg(t) r = Abs(t2) },
    else_branch = b () => (float[2] r) { t2 = Abs(t) r = Neg(t2) }
  >
  y = Relu(z)
}
"""


def names(model):
    values = [v.name for g in graphs(model) for v in definitions(g)]
    nodes = [n.name for g in graphs(model) for n in g]
    return values, nodes


def test_sibling_bodies_share_no_name():
    model = load(ir.from_onnx_text(SIBLINGS)).model
    values, nodes = names(model)
    assert len(set(values)) == len(values)
    assert len(set(nodes)) == len(nodes)
    assert {"x", "c", "t", "z", "y"} <= set(values)
    check(model)


def test_onnx_ir_leaves_siblings_alike():
    """Why edgeq names values itself; when this fails, NameFixPass may do."""
    model = ir.from_onnx_text(SIBLINGS)
    NameFixPass()(model)
    values, _ = names(model)
    assert len(set(values)) < len(values)


def test_unnamed_nodes_are_called_by_operator_and_position():
    model = ir.from_onnx_text(SIBLINGS)
    assert unique_names(model) == 2
    assert [n.name for n in model.graph] == ["Relu_0", "If_1", "Relu_2"]
    assert [n.name for n in next(iter(model.graph.subgraphs()))] == ["Neg_3", "Abs_4"]


def test_naming_is_idempotent():
    model = ir.from_onnx_text(SIBLINGS)
    unique_names(model)
    before = names(model)
    assert unique_names(model) == 0
    assert names(model) == before


def test_a_generated_name_avoids_names_that_come_later():
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)'
        "{ a = Relu(x) b = Relu(a) y = Relu(b) }"
    )
    for node, name in zip(model.graph, ["n", "n", "n_1"], strict=True):
        node.name = name
    assert unique_names(model) == 1
    assert [n.name for n in model.graph] == ["n", "n_2", "n_1"]


def test_main_interface_wins_over_bodies():
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x, bool c) => (float[2] y) {'
        "y = If(c) <then_branch = a () => (float[2] y) { y = Neg(x) },"
        "else_branch = b () => (float[2] y) { y = Abs(x) }> }"
    )
    unique_names(model)
    assert [v.name for v in model.graph.outputs] == ["y"]
    bodies = [g.outputs[0].name for g in model.graph.subgraphs()]
    assert len({"y", *bodies}) == 3


def test_omitted_outputs_stay_omitted():
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[3,2,4] x, float[1,12,4] w, float[1,12,3] r) => (float[1,2,3] h)"
        "{ d, h = LSTM <hidden_size = 3> (x, w, r) }"
    )
    model.graph[0].outputs[0].name = ""
    unique_names(model)
    assert list(to_proto(model).graph.node[0].output) == ["", "h"]


def test_two_inputs_of_one_name_are_refused():
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x, float[2] w) => (float[2] y)'
        "{ y = Add(x, w) }"
    )
    model.graph.inputs[1].name = "x"
    with pytest.raises(ModelError, match="x: Two different inputs"):
        unique_names(model)


def test_renaming_leaves_a_shared_tensor_alone():
    tensor = ir.tensor([1.0, 2.0], name="w")
    one, two = ir.Value(name="w", const_value=tensor), ir.Value(name="v", const_value=tensor)
    rename(one, "other")
    assert tensor.name == "w"
    assert two.const_value is tensor
    assert one.const_value is not None
    assert one.const_value.name == "other"


@pytest.mark.parametrize(
    "tensor",
    [
        ir.tensor([1.0, 2.0], name="w", doc_string="d"),
        ir.StringTensor([b"a", b"bc"], shape=ir.Shape([2]), name="w", doc_string="d"),
    ],
)
def test_a_detached_tensor_is_equal(tensor):
    copy = detached(tensor)
    assert (copy.name, copy.doc_string, copy.dtype) == ("w", "d", tensor.dtype)
    assert copy.numpy().tolist() == tensor.numpy().tolist()
