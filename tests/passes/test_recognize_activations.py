import numpy as np
import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.recognize_activations import recognize_activations

SWISH = [
    "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)",
    "a = Add(three, x) b = Clip(a, zero, six) c = Mul(b, x) y = Mul(c, sixth)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Div(b, six) y = Mul(c, x)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Div(x, six) y = Mul(c, b)",
    "a = Add(x, three) r = Relu(a) b = Clip(r, zero, six) c = Mul(x, b) y = Div(c, six)",
]
OTHER = [
    "a = Add(x, three) b = Clip(a, zero, three) c = Mul(x, b) y = Div(c, six)",
    "a = Add(x, six) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)",
    "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(six, c)",
    "a = Add(x, three) b = Clip(a, zero, six) n = Neg(x) c = Mul(n, b) y = Div(c, six)",
]
KINDS = "float three, float six, float zero, float sixth"


def graph(body):
    parts = {"three": 3, "six": 6, "zero": 0, "sixth": 1 / 6}
    text = f"g (float[4,50] x, {KINDS}) => (float[4,50] y) {{ {body} }}"
    return model(text, **{k: np.float32(v) for k, v in parts.items()})


SAMPLES = [{"x": np.linspace(-5, 5, 200, dtype=np.float32).reshape(4, 50)}]


@pytest.mark.parametrize("body", SWISH)
def test_hard_swish(body):
    found, _ = apply(recognize_activations, graph(body), SAMPLES)
    assert ops(found) == ["HardSigmoid", "Mul"]


def test_hard_sigmoid():
    body = "a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)"
    assert ops(apply(recognize_activations, graph(body), SAMPLES)[0]) == ["HardSigmoid"]


@pytest.mark.parametrize("body", OTHER)
def test_others_stay(body):
    assert apply(recognize_activations, graph(body), SAMPLES)[1].changes == 0


def test_relu_in_front_of_relu6():
    found, _ = apply(recognize_activations, graph("r = Relu(x) y = Clip(r, zero, six)"), SAMPLES)
    assert ops(found) == ["Clip"]
