"""onnxruntime's own graph is read back."""

import graphs
import pytest

from edgeq.errors import ModelError
from edgeq.runtime.kernels import (
    INT8_COMPUTE,
    ExecutedGraph,
    ExecutedNode,
    executed_graph,
    original_name,
)

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def test_integer_kernels_keep_the_names_of_their_layers():
    model = graphs.build(f"{IO} {{ [c] y = Conv(x, w) [d] z = Conv(y, w) }}", w=W)
    found = executed_graph(graphs.quantize(model).model)
    by_name = found.by_original_name()
    assert {by_name["c"].op_type, by_name["d"].op_type} <= INT8_COMPUTE
    assert found.leftover_qdq == 2


def test_nodes_of_bodies_are_read_too():
    text = """n (float[2] x, bool c) => (float[2] z) { [i] z = If(c) <
      then_branch = a () => (float[2] t) { [one] t = Sin(x) },
      else_branch = b () => (float[2] e) { [two] e = Cos(x) }> }"""
    operators = {node.op_type for node in executed_graph(graphs.build(text)).nodes}
    assert operators == {"If", "Sin", "Cos"}


def test_a_model_that_does_not_load_is_told():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    model.graph[0].op_type = "NoSuchOp"
    with pytest.raises(ModelError, match="does not load the candidate"):
        executed_graph(model)


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("conv", "conv"),
        ("conv_nchwc", "conv"),
        ("conv_token_12", "conv"),
        ("conv_token_12_nhwc", "conv"),
        ("conv/duplicated", "conv"),
        ("conv_token", "conv_token"),
        ("layer_nhwc_norm", "layer_nhwc_norm"),
    ],
)
def test_what_optimizers_append_is_taken_off(name, original):
    assert original_name(name) == original


def test_nodes_are_found_by_the_constants_they_read():
    nodes = (ExecutedNode("a", "Conv", ("w", "b")), ExecutedNode("c", "Gemm", ("w",)))
    found = ExecutedGraph(nodes, 0).by_constant()
    assert found == {"w": nodes, "b": nodes[:1]}
