import numpy as np
import pytest
from pass_graphs import apply, listing, model, ops

from edgeq.passes.factor_sums import factor_sums

TEXT = """
g (float[N,3,H,W] x, float[N,3,1,1] g, float[N,3,H,W] o) => (float[N,3,H,W] y) {{
  {body}
}}
"""
BODY = "p = Mul(x, g) y = Add(x, p)"


def given(body, opset=17):
    return model(TEXT.format(body=body), opset)


@pytest.mark.parametrize(
    "body", [BODY, BODY.replace("(x, g)", "(g, x)"), BODY.replace("(x, p)", "(p, x)")]
)
def test_one_is_added_to_the_gate(body):
    found, outcome = apply(factor_sums, given(body))
    assert outcome.changes == 1
    assert ops(found) == ["Add", "Mul"]
    assert found.graph[0].outputs[0].shape == found.graph.inputs[1].shape


@pytest.mark.parametrize("of", ["float[3,1,1]", "float[1]"])
def test_a_gate_of_a_lower_rank_is_a_gate(of):
    text = TEXT.format(body=BODY).replace("float[N,3,1,1]", of)
    assert apply(factor_sums, model(text))[1].changes == 1


@pytest.mark.parametrize(
    "body",
    [
        "p = Mul(x, g) y = Add(o, p)",
        "p = Mul(x, o) y = Add(x, p)",
        "p = Mul(x, g) t = Add(x, p) y = Mul(t, p)",
        "p = Mul(x, x) y = Add(x, p)",
        "p = Mul(x, g) y = Sub(x, p)",
    ],
)
def test_other_sums_stay(body):
    found, outcome = apply(factor_sums, given(body))
    assert outcome.changes == 0, listing(found)


def test_a_constant_factor_is_left_to_the_folding_of_constants():
    text = TEXT.format(body=BODY).replace("float[N,3,1,1]", "float[1,3,1,1]")
    found = model(text, g=np.ones((1, 3, 1, 1), np.float32))
    assert apply(factor_sums, found)[1].changes == 0


def test_a_gate_of_which_nothing_is_known_stays():
    found = given(BODY)
    found.graph.inputs[1].shape = None
    assert apply(factor_sums, found, runs=False)[1].changes == 0
