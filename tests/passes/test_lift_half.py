import numpy as np
import onnx_ir as ir
import pytest
from pass_graphs import constant, model, numbers, ops, run

from edgeq.graph.interface import Interface, require_same
from edgeq.passes.lift_half import lift_half
from edgeq.passes.prepare import prepare

TWO_LAYERS = """
g (float16[N,4] x, float16[4,4] w, float16[4] b) => (float16[N,4] y, float16[N,4] z) {
  a = MatMul(x, w)
  c = Add(a, b)
  y = Relu(c)
  z = Tanh(c)
}
"""

BRANCHES = """
g (float16[N,4] x, bool left, float16[4,4] w) => (float16[N,4] y) {
  y = If (left) <
    then_branch = one () => (float16[N,4] p) { p = MatMul(x, w) },
    else_branch = two () => (float16[N,4] q) { q = Relu(x) }
  >
}
"""


def half(*shape, seed=0):
    return numbers(*shape, seed=seed).astype(np.float16)


def lifted(before):
    after = before.clone()
    outcome = lift_half(after)
    require_same(Interface.of(before), Interface.of(after))
    assert lift_half(after).changes == 0
    return after, outcome


def float_types(found):
    return {n.name: {v.dtype for v in (*n.inputs, *n.outputs) if v} for n in found.graph}


def close(before, after, **feed):
    for wanted, got in zip(run(before, **feed), run(after, **feed), strict=True):
        assert wanted.dtype == got.dtype
        np.testing.assert_allclose(wanted.astype(float), got.astype(float), rtol=5e-3, atol=1e-3)


def test_a_half_model_computes_in_float32_and_keeps_its_interface():
    before = model(TWO_LAYERS, w=half(4, 4), b=half(4, seed=1))
    after, outcome = lifted(before)
    assert ops(after) == ["Cast", "MatMul", "Add", "Relu", "Tanh", "Cast", "Cast"]
    inner = [kinds for name, kinds in float_types(after).items() if not name.startswith("cast")]
    assert constant(after, "w").dtype == np.float32
    assert {ir.DataType.FLOAT} in inner
    assert outcome.notes
    close(before, after, x=half(2, 4, seed=2))


def test_bodies_are_lifted_with_what_they_read_from_outside():
    before = model(BRANCHES, w=half(4, 4))
    after, _ = lifted(before)
    for left in (True, False):
        close(before, after, x=half(2, 4, seed=2), left=np.array(left))


def test_casts_and_fill_values_inside_follow():
    text = """
    g (float[N,4] x, float16[4,4] w) => (float[N,4] y) {
      a = Cast <to = 10> (x)
      b = MatMul(a, w)
      shape = Shape(b)
      fill = ConstantOfShape <value = float16[1] {2}> (shape)
      c = Mul(b, fill)
      y = Cast <to = 1> (c)
    }
    """
    before = model(text, w=half(4, 4))
    after, _ = lifted(before)
    close(before, after, x=numbers(2, 4, seed=2))
    assert ops(prepare(before).model)[0] == "MatMul"


def test_a_half_input_that_is_an_output_stays_as_it_is():
    text = """
    g (float16[N,4] x, float16[4,4] w) => (float16[N,4] x, float16[N,4] y, float16[N,4] y) {
      y = MatMul(x, w)
    }
    """
    before = model(text, w=half(4, 4))
    after, _ = lifted(before)
    assert [v.name for v in after.graph.outputs] == ["x", "y", "y"]


@pytest.mark.parametrize("seed", range(3))
def test_rounding_of_the_original_is_not_held_against_the_pass(seed):
    steps = [f"m{i} = MatMul(v{i}, w)\nv{i + 1} = Tanh(m{i})" for i in range(12)]
    text = "g (float16[N,16] v0, float16[16,16] w) => (float16[N,16] v12) {"
    text += "\n".join(steps) + "}"
    weight = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float16) / 2
    done = prepare(model(text, w=weight))
    assert "Cast" in ops(done.model)
    assert not any("left out" in note for note in done.notes)
