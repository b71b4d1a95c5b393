import numpy as np
from pass_graphs import apply, model

from edgeq.passes.pattern import opset
from edgeq.passes.raise_opset import raise_opset

TEXT = """
g (float[2,8] x, float e) => (float[2,8] y) {
  m = ReduceMean<axes = [-1]>(x)
  d = Sub(x, m)
  q = Mul(d, d)
  v = ReduceMean<axes = [-1]>(q)
  a = Add(v, e)
  s = Sqrt(a)
  y = Div(d, s)
}
"""


def graph(number, text=TEXT):
    return model(text, number, e=np.float32(1e-5))


def test_a_model_with_a_spelled_normalization_gets_the_opset_of_the_operator():
    found, outcome = apply(raise_opset, graph(13))
    assert opset(found) == 17
    assert outcome.notes == ("The opset is 17 instead of 13",)


def test_others_keep_theirs():
    assert apply(raise_opset, graph(18, TEXT.replace("<axes = [-1]>", "")))[1].changes == 0
    plain = "g (float[2,8] x, float e) => (float[2,8] y) { y = Add(x, e) }"
    assert apply(raise_opset, graph(13, plain))[1].changes == 0
