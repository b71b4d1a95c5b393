import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.recognize_hard_swish import recognize_hard_swish

TEXT = """
g (float[2,3] x, float[2,3] z) => (float[2,3] y) {
  s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x)
  y = Mul(x, s)
}
"""


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("(x, s)", "(s, x)")])
def test_the_pair_becomes_the_operator(text):
    found, _ = apply(recognize_hard_swish, model(text))
    assert ops(found) == ["HardSwish"]


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("0.16666667", "0.2"),
        TEXT.replace("beta = 0.5", "beta = 0.4"),
        TEXT.replace("(x, s)", "(z, s)"),
        TEXT.replace("y = Mul", "t = Add(s, z) u = Mul").replace("(x, s)", "(x, s) y = Add(t, u)"),
    ],
)
def test_others_stay(text):
    assert apply(recognize_hard_swish, model(text))[1].changes == 0


def test_older_opsets_do_not_have_it():
    outcome = apply(recognize_hard_swish, model(TEXT, 13))[1]
    assert outcome.declined == ("HardSigmoid hardsigmoid_0: HardSwish needs opset 14",)
