import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, constant, model, numbers, ops

from edgeq.passes.recognize_layer_norm import recognize_layer_norm

SIZES = {"two": 2, "eps": 1e-5, "minus": -0.5, "half": 0.5, "one": 1}
HEAD = ", ".join(f"float {name}" for name in SIZES)
FUSED = ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]
FUSED_RMS = ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]

SQUARES = ["p = Pow(d, two)", "p = Mul(d, d)"]
CENTRED = "m = MEAN(x) d = Sub(x, m)"
SPREAD = ["v = MEAN(p) e = Add(v, eps)", "v = MEAN(p) e = Add(eps, v)"]
ENDS = {
    "Div": "s = Sqrt(e) n = Div(d, s) q = Mul(n, gamma) y = Add(q, beta)",
    "Reciprocal": "s = Sqrt(e) r = Reciprocal(s) n = Mul(d, r) q = Mul(gamma, n) y = Add(beta, q)",
    "inverse": "s = Sqrt(e) r = Div(one, s) n = Mul(d, r) q = Mul(gamma, n) y = Add(beta, q)",
    "Pow": "s = Pow(e, half) n = Div(d, s) q = Mul(n, gamma) y = Add(q, beta)",
    "negative Pow": "r = Pow(e, minus) n = Mul(r, d) q = Mul(n, gamma) y = Add(q, beta)",
    "gamma first": "s = Sqrt(e) k = Mul(d, gamma) n = Div(k, s) y = Add(n, beta)",
    "gamma with root": "s = Sqrt(e) r = Reciprocal(s) k = Mul(r, gamma) n = Mul(d, k) "
    "y = Add(n, beta)",
    "parts": "s = Sqrt(e) r = Reciprocal(s) k = Mul(r, gamma) a = Mul(x, k) b = Mul(m, k) "
    "c = Sub(beta, b) y = Add(a, c)",
    "two differences": "d2 = Sub(x, m) s = Sqrt(e) n = Div(d2, s) q = Mul(n, gamma) "
    "y = Add(q, beta)",
}


def graph(body, opset=17, shape="2,3,8", axes=(-1,), affine=(8,), outputs="", **more):
    if opset >= 18:
        body, more = body.replace("MEAN(x)", "ReduceMean(x, ax)"), {**more, "ax": np.array(axes)}
        body = body.replace("MEAN(p)", "ReduceMean(p, ax)")
    else:
        body = body.replace("MEAN", f"ReduceMean <axes = [{', '.join(map(str, axes))}]> ")
    kinds = ", ".join(f"{'int64' if k == 'ax' else 'float'}{list(np.shape(v))} {k}" if np.ndim(v)
                      else f"float {k}" for k, v in more.items())  # fmt: skip
    sizes = ",".join(map(str, affine))
    text = f"g (float[{shape}] x, {HEAD}, float[{sizes}] gamma, float[{sizes}] beta"
    text += f"{', ' + kinds if kinds else ''}) => (float[{shape}] y{outputs}) {{ {body} }}"
    consts = {k: np.float32(v) for k, v in SIZES.items()}
    consts |= {"gamma": numbers(*affine), "beta": numbers(*affine, seed=1), **more}
    return model(text, opset, **consts)


def body_of(end="Div", square=0, spread=0):
    return f"{CENTRED} {SQUARES[square]} {SPREAD[spread]} {ENDS[end]}"


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("end", ENDS)
def test_becomes_the_operator(end, opset):
    found, _ = apply(recognize_layer_norm, graph(body_of(end), opset))
    assert ops(found) == ["LayerNormalization"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("opset", [9, 13])
def test_older_opsets_get_the_spelling_that_is_fused(end, opset):
    found, outcome = apply(recognize_layer_norm, graph(body_of(end, 1), opset, axes=(2,)))
    assert ops(found) == FUSED
    assert "needs opset 17" in outcome.declined[0]
    assert not apply(recognize_layer_norm, graph(body_of(), opset, axes=(2,)))[1].changes


@pytest.mark.parametrize(
    ("end", "inputs"),
    [
        ("s = Sqrt(e) y = Div(d, s)", 2),
        ("s = Sqrt(e) n = Div(d, s) y = Mul(n, gamma)", 2),
        ("s = Sqrt(e) n = Div(d, s) y = Add(n, beta)", 3),
        ("s = Sqrt(e) n = Div(d, s) y = Mul(n, half)", 2),
    ],
)
def test_without_gamma_or_beta(end, inputs):
    body = f"{CENTRED} {SQUARES[0]} {SPREAD[0]} {end}"
    found, _ = apply(recognize_layer_norm, graph(body))
    assert ops(found) == ["LayerNormalization"]
    assert len(found.graph[0].inputs) == inputs
    assert not apply(recognize_layer_norm, graph(body, 13))[1].changes


def test_several_last_axes():
    found, _ = apply(recognize_layer_norm, graph(body_of(), axes=(-1, 1), affine=(3, 8)))
    assert ops(found) == ["LayerNormalization"]
    assert found.graph[0].attributes.get_int("axis") == -2


def test_a_scalar_gamma_is_spread_out():
    found, _ = apply(recognize_layer_norm, graph(body_of(), affine=(1, 1, 1)))
    assert found.graph[0].inputs[1].shape == [8]


@pytest.mark.parametrize("affine", [(4, 1, 1), (1, 4, 1, 1), ()])
def test_over_the_area_it_is_an_instance_normalization(affine):
    before = graph(body_of("parts"), shape="2,4,5,5", axes=(2, 3), affine=affine)
    found, _ = apply(recognize_layer_norm, before)
    assert ops(found) == ["InstanceNormalization"]


def test_a_symbolic_sequence_is_no_obstacle_and_a_symbolic_size_is():
    assert ops(apply(recognize_layer_norm, graph(body_of(), shape="B,T,8"))[0]) == [
        "LayerNormalization"
    ]
    before = graph(f"{CENTRED} {SQUARES[0]} {SPREAD[0]} s = Sqrt(e) y = Div(d, s)", shape="B,T,C")
    outcome = apply(recognize_layer_norm, before)[1]
    assert not outcome.changes
    assert "not known" in outcome.declined[0]


@pytest.mark.parametrize("opset", [23, 17])
@pytest.mark.parametrize(
    "end",
    [
        "s = Sqrt(e) n = Div(x, s) y = Mul(n, gamma)",
        "s = Sqrt(e) r = Reciprocal(s) n = Mul(x, r) y = Mul(gamma, n)",
        "r = Pow(e, minus) n = Mul(x, r) y = Mul(gamma, n)",
        "s = Sqrt(e) r = Reciprocal(s) k = Mul(r, gamma) y = Mul(k, x)",
    ],
)
def test_root_mean_square(end, opset):
    body = f"p = Mul(x, x) {SPREAD[0]} {end}"
    found, outcome = apply(recognize_layer_norm, graph(body, opset))
    assert ops(found) == (["RMSNormalization"] if opset == 23 else FUSED_RMS)
    assert bool(outcome.declined) == (opset == 17)


def test_root_mean_square_without_a_weight():
    body = f"p = Pow(x, two) {SPREAD[0]} s = Sqrt(e) y = Div(x, s)"
    found, _ = apply(recognize_layer_norm, graph(body, 23))
    assert ops(found) == ["RMSNormalization"]
    assert (constant(found, found.graph[0].inputs[1].name) == 1).all()


def test_root_mean_square_without_a_weight_gets_shorter():
    body = f"p = Mul(x, x) {SPREAD[0]} s = Sqrt(e) r = Reciprocal(s) y = Mul(x, r)"
    found, _ = apply(recognize_layer_norm, graph(body))
    assert ops(found) == FUSED_RMS[:-1]


OTHER = {
    "epsilon behind the root": f"{CENTRED} {SQUARES[0]} v = MEAN(p) s = Sqrt(v) t = Add(s, eps) "
    "y = Div(d, t)",
    "another mean": f"{CENTRED} {SQUARES[0]} {SPREAD[0]} s = Sqrt(e) a = Abs(x) "
    "n = ReduceMean <axes = [1]> (a) k = Sub(x, n) y = Div(k, s)",
    "means over other axes": "m = ReduceMean <axes = [1]> (x) d = Sub(x, m) "
    f"{SQUARES[0]} {SPREAD[0]} s = Sqrt(e) n = Div(d, s) y = Abs(n)",
    "a sum": f"{CENTRED} {SQUARES[0]} {SPREAD[0]} s = Sqrt(e) y = Add(d, s)",
    "no root": f"{CENTRED} {SQUARES[0]} {SPREAD[0]} y = Div(d, e)",
}


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_others_stay(body):
    found, _ = apply(recognize_layer_norm, graph(body))
    assert "LayerNormalization" not in ops(found)


def test_gamma_along_another_axis_stays_outside():
    body = f"{CENTRED} {SQUARES[0]} {SPREAD[0]} s = Sqrt(e) n = Div(d, s) y = Mul(n, gamma)"
    found, _ = apply(recognize_layer_norm, graph(body, affine=(3, 1)))
    assert ops(found) == ["LayerNormalization", "Mul"]


def test_what_others_read_stays():
    before = graph(body_of(), outputs=", float[2,3,1] e")
    _, outcome = apply(recognize_layer_norm, before)
    assert not outcome.changes
    assert "others read" in outcome.declined[0]


def test_a_middle_axis_is_no_last_axis():
    outcome = apply(recognize_layer_norm, graph(body_of(), axes=(1,), affine=(1,)))[1]
    assert not outcome.changes


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(ENDS)),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from([11, 16, 17, 21]),
    st.sampled_from([(8,), (1,), (1, 8), ()]),
)
def test_every_spelling(end, square, spread, opset, affine):
    found, _ = apply(
        recognize_layer_norm, graph(body_of(end, square, spread), opset, affine=affine)
    )
    assert ops(found) == (["LayerNormalization"] if opset >= 17 else FUSED)
