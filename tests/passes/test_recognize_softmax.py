import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, ops

from edgeq.passes.recognize_softmax import recognize_softmax

TOP = "t = ReduceMax <axes = [AXIS]> (x) d = Sub(x, t) e = Exp(d)"
PLAIN = "e = Exp(x)"
SUM = "s = ReduceSum(e, ax)"
ENDS = ["y = Div(e, s)", "r = Reciprocal(s) y = Mul(e, r)", "r = Div(one, s) y = Mul(r, e)"]


def graph(body, opset=17, axis=-1, outputs=""):
    if opset < 13:
        body = body.replace("ReduceSum(e, ax)", f"ReduceSum <axes = [{axis}]> (e)")
    text = "g (float[2,3,8] x, float one, float minus, float two, int64[1] ax) => (float[2,3,8] y"
    text += f"{outputs}) {{ {body.replace('AXIS', str(axis))} }}"
    numbers = {k: np.float32(v) for k, v in (("one", 1), ("minus", -1), ("two", 2))}
    return model(text, opset, ax=np.array([axis]), **numbers)


@pytest.mark.parametrize("start", [TOP, PLAIN])
@pytest.mark.parametrize("end", ENDS)
def test_softmax(start, end):
    found, _ = apply(recognize_softmax, graph(f"{start} {SUM} {end}"))
    assert ops(found) == ["Softmax"]


@pytest.mark.parametrize(("opset", "axis", "changed"), [(11, 2, 1), (11, 1, 0), (13, 1, 1)])
def test_older_softmax_is_over_all_axes_behind(opset, axis, changed):
    before = graph(f"{TOP} {SUM} {ENDS[0]}", opset, axis)
    assert apply(recognize_softmax, before)[1].changes == changed


@pytest.mark.parametrize(
    "body",
    [
        f"{TOP} {SUM} p = Add(s, one) y = Div(e, p)",
        f"{TOP} {SUM} y = Div(x, s)",
        "e = Exp(x) n = Neg(x) f = Exp(n) s = ReduceSum(f, ax) y = Div(e, s)",
        "n = Neg(x) e = Exp(n) p = Add(e, two) y = Div(one, p)",
        "n = Neg(x) e = Exp(n) p = Add(e, one) y = Div(two, p)",
        "n = Mul(x, two) e = Exp(n) p = Add(e, one) y = Reciprocal(p)",
    ],
)
def test_others_stay(body):
    assert apply(recognize_softmax, graph(body))[1].changes == 0


def test_a_maximum_of_another_axis_is_part_of_the_input():
    body = f"{TOP.replace('AXIS', '1')} {SUM} {ENDS[0]}"
    found, _ = apply(recognize_softmax, graph(body))
    assert ops(found) == ["ReduceMax", "Sub", "Softmax"]


def test_what_others_read_stays():
    outcome = apply(recognize_softmax, graph(f"{TOP} {SUM} {ENDS[0]}", outputs=", float[2,3,8] e"))
    assert "others read" in outcome[1].declined[0]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from(["n = Neg(x)", "n = Mul(x, minus)", "n = Div(x, minus)"]),
    st.sampled_from(["p = Add(e, one)", "p = Add(one, e)"]),
    st.sampled_from([("y = Reciprocal(p)", 1), ("y = Div(one, p)", 1), ("y = Div(x, p)", 2),
                     ("r = Div(one, p) y = Mul(x, r)", 2)]),
)  # fmt: skip
def test_sigmoid_and_swish(negation, plus, end):
    found, _ = apply(recognize_softmax, graph(f"{negation} e = Exp(n) {plus} {end[0]}"))
    assert ops(found) == ["Sigmoid", "Mul"][: end[1]]


def test_sigmoid_of_exponentials():
    found, _ = apply(recognize_softmax, graph("e = Exp(x) p = Add(e, one) y = Div(e, p)"))
    assert ops(found) == ["Sigmoid"]
