from pass_graphs import apply, listing, model, numbers

from edgeq.graph.rewire import remove, take_place
from edgeq.passes.merge_duplicates import merge_duplicates
from edgeq.passes.remove_dead import remove_dead


def test_equal_nodes_and_constants():
    text = """
g (float[2] x, float[2] a, float[2] b) => (float[2] y) {
  p = Add(x, a)
  q = Add(x, b)
  y = Mul(p, q)
}
"""
    found, outcome = apply(merge_duplicates, model(text, a=numbers(2), b=numbers(2)))
    assert outcome.changes == 2
    assert listing(found) == "p = Add(x, a)\ny = Mul(p, p)"


def test_other_attributes_and_draws_stay():
    text = """
g (float[2,2] x) => (float[2] y, float[2] z, float[2,2] u, float[2,2] v) {
  y = ReduceMax<axes=[0], keepdims=0>(x)
  z = ReduceMax<axes=[1], keepdims=0>(x)
  u = Bernoulli(x)
  v = Bernoulli(x)
}
"""
    assert apply(merge_duplicates, model(text), runs=False)[1].changes == 0


def test_two_equal_outputs_stay():
    text = "g (float[2] x) => (float[2] y, float[2] z) { y = Abs(x) z = Abs(x) }"
    assert apply(merge_duplicates, model(text))[1].changes == 0


def test_an_output_takes_the_earlier_node():
    text = "g (float[2] x) => (float[2] y, float[2] z) { a = Abs(x) y = Neg(a) z = Abs(x) }"
    found, _ = apply(merge_duplicates, model(text))
    assert listing(found) == "z = Abs(x)\ny = Neg(z)"


def test_an_omitted_output_is_not_read():
    text = """
g (float[1,1,4,4] x) => (float[1,1,3,3] y, int64[1,1,3,3] i) {
  a = MaxPool<kernel_shape=[2,2]>(x)
  b, i = MaxPool<kernel_shape=[2,2]>(x)
  y = Add(a, b)
}
"""
    assert apply(merge_duplicates, model(text))[1].changes == 0


def test_bodies():
    text = """
g (bool c, float[2] x) => (float[2] y) {
  y = If(c) <
    then_branch = t () => (float[2] p) { m = Abs(x) n = Abs(x) p = Add(m, n) },
    else_branch = e () => (float[2] q) { q = Neg(x) }
  >
}
"""
    found, _ = apply(merge_duplicates, model(text))
    assert "p = Add(m, m)" in listing(found)


def test_dead_nodes_and_constants_go():
    text = "g (float[2] x, float[2] w) => (float[2] y) { a = Add(x, w) y = Neg(x) }"
    found, _outcome = apply(remove_dead, model(text, w=numbers(2)))
    assert listing(found) == "y = Neg(x)"
    assert not found.graph.initializers


def test_what_only_a_dead_body_reads_goes():
    text = """
g (bool c, float[2] x) => (float[2] y) {
  d = Exp(x)
  z = If(c) <
    then_branch = t () => (float[2] p) { p = Abs(d) },
    else_branch = e () => (float[2] q) { q = Neg(d) }
  >
  y = Neg(x)
}
"""
    found, _ = apply(remove_dead, model(text))
    assert listing(found) == "y = Neg(x)"


def test_a_branch_output_is_never_a_value_from_outside():
    text = """
g (bool c, float[2] x) => (float[2] y) {
  t = Abs(x)
  y = If(c) <
    then_branch = p () => (float[2] r) { r = Exp(x) },
    else_branch = q () => (float[2] s) { s = Neg(t) }
  >
}
"""
    found = model(text)
    branch = next(n for n in found.graph if n.op_type == "If").attributes["then_branch"].as_graph()
    take_place(branch.outputs[0], found.graph[0].outputs[0])
    remove(branch[0])
    assert "r = Identity(t)" in listing(found)


def test_large_weights_that_an_exporter_wrote_twice_are_stored_once():
    text = """
    g (float[1,2000] x, float[2000,600] a, float[2000,600] b, float[2000,600] c)
        => (float[1,600] y) {
      p = MatMul(x, a)
      q = MatMul(x, b)
      r = MatMul(x, c)
      s = Add(p, q)
      y = Add(s, r)
    }
    """
    weight = numbers(2000, 600)
    other = weight.copy()
    other[-1, -1] += 1
    before = model(text, a=weight, b=weight.copy(), c=other)
    after, _ = apply(merge_duplicates, before)
    assert sorted(after.graph.initializers) == ["a", "c"]
