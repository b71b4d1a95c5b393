import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, ops

from edgeq.passes.recognize_gelu import recognize_gelu

NUMBERS = {
    "root2": math.sqrt(2),
    "inverse": 1 / math.sqrt(2),
    "half": 0.5,
    "one": 1,
    "two": 2,
    "three": 3,
    "k": math.sqrt(2 / math.pi),
    "cubic": 0.044715,
    "quick": 1.702,
}
HEAD = ", ".join(f"float {name}" for name in NUMBERS)
SAMPLES = [{"x": np.linspace(-5, 5, 200, dtype=np.float32).reshape(4, 50)}]
ERF = {
    "fused": "d = Div(x, root2) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)",
    "half of x": "d = Mul(inverse, x) e = Erf(d) p = Add(one, e) m = Mul(half, x) y = Mul(p, m)",
    "half of it": "d = Mul(x, inverse) e = Erf(d) p = Add(e, one) m = Mul(p, half) y = Mul(x, m)",
    "divided": "d = Div(x, root2) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Div(m, two)",
    "in parts": "d = Div(x, root2) e = Erf(d) h = Mul(e, half) p = Add(h, half) y = Mul(p, x)",
    "apart": "d = Div(x, root2) e = Erf(d) h = Mul(x, half) m = Mul(h, e) y = Add(h, m)",
}
_TANH = "u = Tanh(t) w = Add(u, one) v = Mul(x, w) y = Mul(half, v)"
TANH = {
    "pow": f"p = Pow(x, three) m = Mul(p, cubic) s = Add(x, m) t = Mul(s, k) {_TANH}",
    "products": "q = Mul(x, x) p = Mul(q, x) m = Mul(cubic, p) s = Add(m, x) t = Mul(k, s) "
    + _TANH,
    "nested": "q = Mul(x, x) m = Mul(cubic, q) o = Add(one, m) s = Mul(x, o) t = Mul(k, s) "
    + _TANH,
    "scaled": "q = Mul(x, x) m = Mul(cubic, q) o = Add(one, m) s = Mul(x, k) t = Mul(s, o) "
    + _TANH,
}
OTHER = [
    "d = Div(x, two) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)",
    "d = Div(x, root2) e = Erf(d) p = Add(e, two) m = Mul(x, p) y = Mul(m, half)",
    "d = Div(x, root2) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, two)",
    "d = Div(root2, x) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)",
    "q = Mul(x, quick) s = Sigmoid(q) y = Mul(x, s)",
    "t = Mul(x, k) u = Tanh(t) w = Add(u, one) v = Mul(x, w) y = Mul(half, v)",
]


def graph(body, opset=20, numbers=NUMBERS, outputs=""):
    text = f"g (float[4,50] x, {HEAD}) => (float[4,50] y{outputs}) {{ {body} }}"
    return model(text, opset, **{k: np.float32(v) for k, v in numbers.items()})


@pytest.mark.parametrize("body", [*ERF.values(), *TANH.values()], ids=[*ERF, *TANH])
def test_becomes_the_operator(body):
    found, _ = apply(recognize_gelu, graph(body), SAMPLES)
    assert ops(found) == ["Gelu"]


@pytest.mark.parametrize("body", ERF.values(), ids=ERF)
def test_older_opsets_get_the_spelling_that_is_fused(body):
    found, outcome = apply(recognize_gelu, graph(body, 13), SAMPLES)
    assert ops(found) == ["Div", "Erf", "Add", "Mul", "Mul"]
    assert outcome.declined == ("1 GELU stay arithmetic: Gelu needs opset 20, the model has 13",)
    assert outcome.changes == (body != ERF["fused"])


@pytest.mark.parametrize("body", TANH.values(), ids=TANH)
def test_older_opsets_get_a_shorter_tanh(body):
    found, outcome = apply(recognize_gelu, graph(body, 13), SAMPLES)
    assert ops(found) == ["Mul", "Mul", "Add", "Mul", "Sigmoid", "Mul"]
    found = found.clone()
    found.opset_imports[""] = 20
    assert ops(apply(recognize_gelu, found, SAMPLES)[0]) == ["Gelu"]
    assert outcome.changes == 1


@pytest.mark.parametrize("body", OTHER)
@pytest.mark.parametrize("opset", [13, 20])
def test_others_stay(body, opset):
    _, outcome = apply(recognize_gelu, graph(body, opset), SAMPLES)
    assert not outcome.changes
    assert not outcome.declined


def test_numbers_that_were_half_precision():
    numbers = {k: np.float16(v) for k, v in NUMBERS.items()}
    for body in (ERF["half of x"], TANH["pow"]):
        found = graph(body, numbers=numbers)
        assert recognize_gelu(found).changes == 1
    found = graph(ERF["fused"], 13, numbers=numbers)
    assert recognize_gelu(found).changes == 1
    assert recognize_gelu(found).changes == 0


def test_what_others_read_stays():
    _, outcome = apply(recognize_gelu, graph(ERF["fused"], outputs=", float[4,50] e"), SAMPLES)
    assert not outcome.changes
    assert "others read" in outcome.declined[0]


def test_numbers_that_the_caller_may_change_are_no_constants():
    found = graph(ERF["fused"])
    found.graph.inputs.append(found.graph.initializers["half"])
    assert not recognize_gelu(found).changes


def test_in_a_body_with_a_gate_behind_it():
    body = ERF["fused"].replace("y =", "g =") + " q = Mul(g, x)"
    text = f"""
    g (float[4,50] x, bool left, {HEAD}) => (float[4,50] y) {{
      y = If (left) <
        then_branch = one () => (float[4,50] q) {{ {body} }},
        else_branch = two () => (float[4,50] r) {{ r = Neg(x) }}
      >
    }}
    """
    before = model(text, 20, **{k: np.float32(v) for k, v in NUMBERS.items()})
    samples = [{**SAMPLES[0], "left": np.array(flag)} for flag in (True, False)]
    assert ops(apply(recognize_gelu, before, samples)[0]) == ["If", "Gelu", "Mul", "Neg"]


def test_doubles_stay():
    text = "g (double[4] x, double a, double b, double c) => (double[4] y) {"
    text += "d = Div(x, a) e = Erf(d) p = Add(e, b) m = Mul(x, p) y = Mul(m, c) }"
    before = model(text, 20, a=np.sqrt(2.0), b=np.float64(1), c=np.float64(0.5))
    assert not recognize_gelu(before).changes


@st.composite
def _spellings(draw):
    def both(op, a, b):
        return f"{op}({a}, {b})" if draw(st.booleans()) else f"{op}({b}, {a})"

    lines = [f"d = {draw(st.sampled_from(['Div(x, root2)', both('Mul', 'x', 'inverse')]))}"]
    lines += ["e = Erf(d)", f"p = {both('Add', 'e', 'one')}"]
    factors = draw(st.permutations(["x", "p", "half"]))
    lines.append(f"m = {both('Mul', *factors[:2])}")
    lines.append(f"y = {both('Mul', 'm', factors[2])}")
    return " ".join(lines)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(_spellings(), st.sampled_from([13, 20]))
def test_every_order(body, opset):
    found, _ = apply(recognize_gelu, graph(body, opset), SAMPLES)
    assert len(ops(found)) == (1 if opset == 20 else 5)


def test_a_constant_that_widens_the_result_is_not_taken_away():
    before = graph(ERF["fused"].replace("y =", "z =") + " y = Identity(z)")
    half = before.graph.initializers["half"]
    half.const_value = ir.Tensor(np.full((1, 1, 1), 0.5, np.float32), name="half")
    half.shape = ir.Shape([1, 1, 1])
    assert not recognize_gelu(before).changes
