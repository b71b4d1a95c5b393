import numpy as np
import onnx_ir as ir
from pass_graphs import apply, constant, listing, model, numbers

from edgeq.passes import fold_constants as module
from edgeq.passes.fold_constants import fold_constants
from edgeq.passes.lift_constants import lift_constants


def test_a_weight_behind_casts_and_transposes():
    text = """
g (float[2,3] x, float16[4,3] w) => (float[2,4] y) {
  c = Cast<to=1>(w)
  t = Transpose<perm=[1,0]>(c)
  y = MatMul(x, t)
}
"""
    found, outcome = apply(fold_constants, model(text, w=numbers(4, 3).astype(np.float16)))
    assert listing(found) == "y = MatMul(x, t)"
    assert constant(found, "t").dtype == np.float32
    assert set(found.graph.initializers) == {"t"}
    assert outcome.changes == 1


def test_what_is_stored_quantized_stays():
    text = """
g (float[2,3] x, int8[3,3] w, float s) => (float[2,3] y) {
  d = DequantizeLinear(w, s)
  y = MatMul(x, d)
}
"""
    found = model(text, w=np.ones((3, 3), np.int8), s=np.float32(0.5))
    assert apply(fold_constants, found)[1].changes == 0


def test_quantize_linear_stays():
    text = """
g (float[3,3] w, float s, int8 z) => (float[3,3] y) {
  q = QuantizeLinear(w, s, z) y = DequantizeLinear(q, s, z)
}
"""
    found = model(text, w=numbers(3, 3), s=np.float32(0.5), z=np.int8(0))
    assert apply(fold_constants, found, [{}])[1].changes == 0


def test_a_large_result_stays_computed():
    text = (
        "g (float[1] x, int64[2] n, float v) => "
        "(float[1000,1000] y) { e = Expand(v, n) y = Add(e, x) }"
    )
    found = model(text, n=np.array([1000, 1000]), v=np.float32(1))
    _, outcome = apply(fold_constants, found)
    assert outcome.changes == 0
    assert outcome.declined == (
        "Expand expand_0: its constant result of 4000000 bytes stays computed",
    )


def test_inputs_with_a_default_are_no_constants():
    found = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 17]>\n'
        "g (float[2] x = {1, 2}) => (float[2] y) { a = Neg(x) y = Abs(a) }"
    )
    assert fold_constants(found).changes == 0


def test_random_numbers_stay():
    text = (
        "g (float[2] x) => "
        "(float[2] y) { r = RandomNormal<shape=[2]>() z = Mul(r, r) y = Add(x, z) }"
    )
    assert apply(fold_constants, model(text), runs=False)[1].changes == 0


def test_a_constant_output_is_one_identity():
    text = "g (float[2] w) => (float[2] y) { a = Neg(w) y = Exp(a) }"
    found, _ = apply(fold_constants, model(text, w=numbers(2)), [{}])
    assert listing(found) == "y = Identity(y__constant)"


def test_in_batches(monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 1)
    text = (
        "g (float[2] x, float[2] a, float[2] b) => "
        "(float[2] y) { p = Neg(a) q = Neg(b) r = Add(x, p) y = Add(r, q) }"
    )
    _found, outcome = apply(fold_constants, model(text, a=numbers(2), b=numbers(2, seed=1)))
    assert outcome.changes == 2


def test_what_does_not_run_is_declined_alone():
    text = """
g (float[2] x, float[2] a, float[3] b) => (float[2] y, float[2] z) {
  p = Neg(a) q = Add(a, b) y = Add(x, p) z = Add(x, q)
}
"""
    _, outcome = apply(fold_constants, model(text, a=numbers(2), b=numbers(3)), runs=False)
    assert outcome.changes == 1
    assert len(outcome.declined) == 1
    assert outcome.declined[0].startswith("Add add_1: ")


def test_bodies():
    text = """
g (bool c, float[2] w) => (float[2] y) {
  y = If(c) <
    then_branch = t () => (float[2] p) { n = Neg(w) p = Exp(n) },
    else_branch = e () => (float[2] q) { q = Identity(w) }
  >
}
"""
    found, _ = apply(fold_constants, model(text, w=numbers(2)))
    assert "p = Identity(p__constant)" in listing(found)


def test_every_kind_of_constant_is_lifted():
    text = """
g (float x) => (float y, int64[2] i) {
  a = Constant<value_float=1.5>()
  b = Constant<value = float {2.0}>()
  c = Constant<value_ints=[1, 2]>()
  i = Identity(c)
  p = Add(x, a)
  y = Add(p, b)
}
"""
    found, outcome = apply(lift_constants, model(text))
    assert outcome.changes == 3
    assert listing(found) == "i = Identity(c)\np = Add(x, a)\ny = Add(p, b)"


def test_a_sparse_constant_is_declined():
    text = "g (float[2] x) => (float[2] y) { y = Neg(x) }"
    found = model(text)
    node = ir.Node("", "Constant", [], [ir.AttrString("sparse_value", "s")], name="odd")
    node.outputs[0].name = "s"
    found.graph.append(node)
    outcome = lift_constants(found)
    assert outcome.declined == ("Constant odd: a sparse constant stays a node",)
