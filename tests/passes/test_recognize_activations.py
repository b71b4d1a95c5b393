import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.recognize_activations import recognize_activations

SWISH = [
    "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)",
    "a = Add(three, x) b = Clip(a, zero, six) c = Mul(b, x) y = Mul(c, sixth)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Div(b, six) y = Mul(c, x)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Div(x, six) y = Mul(c, b)",
    "a = Add(x, three) r = Relu(a) b = Clip(r, zero, six) c = Mul(x, b) y = Div(c, six)",
]
SPELLED = [
    "a = Add(x, three) m = Max(a, zero) b = Min(m, six) c = Mul(x, b) y = Div(c, six)",
    "a = Add(x, three) m = Min(six, a) b = Max(zero, m) c = Div(b, six) y = Mul(c, x)",
    "a = Add(x, three) r = Relu(a) b = Min(r, six) c = Mul(b, sixth) y = Mul(x, c)",
    "a = Div(x, six) h = Add(a, half) b = Clip(h, zero, one) y = Mul(b, x)",
    "a = Mul(x, sixth) h = Add(half, a) r = Relu(h) b = Min(one, r) y = Mul(x, b)",
]
OTHER = [
    "a = Add(x, three) b = Clip(a, zero, three) c = Mul(x, b) y = Div(c, six)",
    "a = Add(x, six) b = Clip(a, three, six) c = Mul(x, b) y = Div(c, six)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(six, c)",
    "a = Add(x, three) b = Clip(a, zero, six) n = Neg(x) c = Mul(n, b) y = Div(c, six)",
]
KINDS = "float three, float six, float zero, float sixth, float half, float one"


def graph(body, opset=17, shape=()):
    parts = {"three": 3, "six": 6, "zero": 0, "sixth": 1 / 6, "half": 0.5, "one": 1}
    kinds = KINDS.replace("float ", f"float[{','.join(map(str, shape))}] ") if shape else KINDS
    text = f"g (float[4,50] x, {kinds}) => (float[4,50] y) {{ {body} }}"
    return model(text, opset, **{k: np.full(shape, v, np.float32) for k, v in parts.items()})


SAMPLES = [{"x": np.linspace(-5, 7, 200, dtype=np.float32).reshape(4, 50)}]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("body", [*SWISH, *SPELLED])
def test_hard_swish(body, shape):
    if shape and "Clip" in body:
        return
    found, _ = apply(recognize_activations, graph(body, shape=shape), SAMPLES)
    assert ops(found) == ["HardSigmoid", "Mul"]


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)",
        "a = Add(x, three) r = Relu(a) b = Min(r, six) y = Mul(sixth, b)",
        "a = Mul(x, sixth) h = Add(half, a) y = Clip(h, zero, one)",
    ],
)
def test_hard_sigmoid(body):
    assert ops(apply(recognize_activations, graph(body), SAMPLES)[0]) == ["HardSigmoid"]


def test_a_ramp_that_a_layer_can_take_up_stays():
    body = "l = MatMul(x, w) a = Mul(l, sixth) h = Add(half, a) y = Clip(h, zero, one)"
    text = f"g (float[4,50] x, float[50,50] w, {KINDS}) => (float[4,50] y) {{ {body} }}"
    parts = {"three": 3, "six": 6, "zero": 0, "sixth": 1 / 6, "half": 0.5, "one": 1}
    before = model(text, w=numbers(50, 50), **{k: np.float32(v) for k, v in parts.items()})
    assert apply(recognize_activations, before)[1].changes == 0


@pytest.mark.parametrize("body", OTHER)
def test_others_stay(body):
    assert apply(recognize_activations, graph(body), SAMPLES)[1].changes == 0


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("r = Relu(x) y = Min(r, six)", ["Clip"]),
        ("r = Min(six, x) y = Max(zero, r)", ["Clip"]),
        ("r = Max(x, zero) y = Min(r, six)", ["Clip"]),
        ("r = Relu(x) y = Relu(r)", ["Relu"]),
        ("y = Max(x, zero)", ["Relu"]),
        ("r = Relu(x) s = Max(r, one) y = Min(s, six)", ["Clip"]),
        ("r = Max(x, one) s = Min(r, six) y = Relu(s)", ["Clip"]),
        ("r = Min(x, one) y = Max(r, six)", ["Clip"]),
        ("r = Max(x, one) y = Max(r, six)", ["Clip"]),
        ("y = Min(x, six)", ["Clip"]),
        ("y = Max(one, x)", ["Clip"]),
        ("y = Min(x, zero)", ["Min"]),
        ("y = Relu(x)", ["Relu"]),
    ],
)
def test_clamps(body, left, opset):
    assert ops(apply(recognize_activations, graph(body, opset), SAMPLES)[0]) == left


def test_relu_in_front_of_relu6():
    found, _ = apply(recognize_activations, graph("r = Relu(x) y = Clip(r, zero, six)"), SAMPLES)
    assert ops(found) == ["Clip"]


def test_a_clamp_that_others_read_stays():
    body = "r = Relu(x) c = Clip(r, zero, six) y = Mul(c, r)"
    assert apply(recognize_activations, graph(body), SAMPLES)[1].changes == 0


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(["Min", "Max"]), st.floats(-4, 4)), min_size=1, max_size=4)
)
def test_any_run_of_clamps(steps):
    consts = {f"c{i}": np.float32(number) for i, (_, number) in enumerate(steps)}
    body = " ".join(f"v{i + 1} = {op}(v{i}, c{i})" for i, (op, _) in enumerate(steps))
    heads = ", ".join(f"float {name}" for name in consts)
    text = f"g (float[4,50] v0, {heads}) => (float[4,50] v{len(steps)}) {{ {body} }}"
    found, _ = apply(recognize_activations, model(text, **consts), [{"v0": SAMPLES[0]["x"]}])
    assert len(ops(found)) == 1
