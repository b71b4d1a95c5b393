import graphs
import numpy as np
import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.convert_once import convert_once
from edgeq.passes.raise_opset import raise_opset_for_hard_swish
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph

TEXT = """
g (uint8[2,3] q, float s, uint8 z) => (float[2,3] y) {
  x = DequantizeLinear(q, s, z)
  g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)
  y = Mul(x, g)
}
"""


def gated(text=TEXT, opset=17):
    return model(text, opset, s=np.float32(0.1), z=np.uint8(120))


def conversions(found):
    return [node.op_type for node in executed_graph(found).nodes].count("DequantizeLinear")


def test_what_was_in_integers_is_converted_once():
    given = gated()
    assert conversions(given) == 2
    found, outcome = apply(convert_once, given)
    assert outcome.changes == 1
    assert ops(found) == ["DequantizeLinear", "HardSwish"]
    assert conversions(found) == 1


def test_older_opsets_do_not_have_it():
    found, outcome = apply(convert_once, gated(opset=13))
    assert ops(found) == ["DequantizeLinear", "HardSigmoid", "Mul"]
    assert "needs opset 14" in outcome.declined[0]


def test_preparation_raises_the_opset_for_it():
    body = "{ g = HardSigmoid<alpha = 0.16666667>(x) y = Mul(x, g) }"
    text = f"g (float[2,3] x) => (float[2,3] y) {body}"
    found, outcome = apply(raise_opset_for_hard_swish, model(text, 13))
    assert found.opset_imports[""] == 14
    assert outcome.notes == ("The opset is 14 instead of 13",)
    other = text.replace("0.16666667", "0.2")
    assert apply(raise_opset_for_hard_swish, model(other, 13))[1].changes == 0


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("x = DequantizeLinear(q, s, z)", "w = DequantizeLinear(q, s, z) x = Neg(w)"),
        TEXT.replace("0.16666667", "0.2"),
        TEXT.replace("y = Mul(x, g)", "y = Add(x, g)"),
    ],
)
def test_others_stay(text):
    assert apply(convert_once, gated(text))[1].changes == 0


def test_a_pair_in_integers_is_no_such_pair():
    """Between integer layers both are kernels of their own."""
    text = """n (float[1,4,8,8] x) => (float[1,4,8,8] z) {
      a = Conv(x, w) [gate] g = HardSigmoid<alpha = 0.16666667, beta = 0.5>(a)
      [gated] b = Mul(a, g) z = Conv(b, w)
    }"""
    swish = graphs.build(text, w=graphs.numbers(0, 4, 4, 1, 1))
    plain, bridged = (
        graphs.quantize(swish, recipe=Recipe(include=names)).model for names in ((), ("gate*",))
    )
    assert convert_once(plain).changes == 1
    assert convert_once(bridged).changes == 0
