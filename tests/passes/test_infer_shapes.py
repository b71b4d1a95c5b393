import numpy as np
import onnx_ir as ir
from pass_graphs import apply, constant, model

from edgeq.graph import walk
from edgeq.graph.interface import Interface
from edgeq.passes.infer_shapes import infer_shapes


def test_inner_values_get_shapes_and_outputs_keep_theirs():
    found = model("g (float[N,3] x) => (float[?,?] y) { a = Neg(x) y = Abs(a) }", shapes=False)
    before = Interface.of(found)
    assert infer_shapes(found).declined == ()
    assert str(found.graph[0].outputs[0].shape) == "[N,3]"
    assert Interface.of(found) == before


def test_sequences_are_not_called_tensors():
    text = """
g (float[2] x) => (float[2] y) {
  s = SequenceEmpty()
  t = SequenceInsert(s, x)
  y = ConcatFromSequence<axis=0>(t)
}
"""
    found, _ = apply(infer_shapes, model(text, shapes=False))
    assert not isinstance(found.graph[0].outputs[0].type, ir.TensorType)


def test_a_failure_is_told():
    found = model("g (float[2] x, float[3] z) => (float[2] y) { y = Add(x, z) }", shapes=False)
    found.graph[0].op_type = "Nothing"
    found.graph[0].domain = ""
    assert infer_shapes(found).changes == 0


def test_large_constants_keep_their_content_and_bodies_are_told_as_well():
    text = """
g (float[N,512] x, float[512,4] w, bool c) => (float[?,?] y) {
  m = MatMul(x, w)
  y = If(c) <
    then_branch = t () => (float[?,?] a) { h = MatMul(x, w) a = Neg(h) },
    else_branch = e () => (float[?,?] b) { b = Identity(m) }
  >
}
"""
    weight = np.arange(2048, dtype=np.float32).reshape(512, 4)
    found = model(text, shapes=False, w=weight)
    assert infer_shapes(found).learned
    inner = next(n for n in walk.nodes(found) if n.op_type == "Neg").inputs[0]
    assert str(inner.shape) == "[N,4]"
    assert np.array_equal(constant(found, "w"), weight)
    assert infer_shapes(found).learned == 0
