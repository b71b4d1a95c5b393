"""Which part of a value's range its readers can tell apart."""

import graphs
import numpy as np
import pytest

from edgeq.graph.walk import values
from edgeq.quantization.saturation import useful_bounds

INF = np.inf
BOUNDS = {"lo": np.float32(-2), "hi": np.float32(3)}


def bounds_of(lines, head="n (float[2,3] x) => (float[2,3] z)", **constants):
    model = graphs.build(f"{head} {{ {lines} }}", **constants)
    return useful_bounds(values(model)["y"])


@pytest.mark.parametrize(
    ("lines", "constants", "wanted"),
    [
        ("y = Sin(x) z = Relu(y)", {}, (0.0, INF)),
        ("y = Sin(x) z = Clip(y, lo, hi)", BOUNDS, (-2.0, 3.0)),
        ("y = Sin(x) z = HardSigmoid<alpha=0.25, beta=0.5>(y)", {}, (-2.0, 2.0)),
        ("y = Sin(x) z = HardSigmoid<alpha=-0.25>(y)", {}, (-INF, INF)),
        ("y = Sin(x) z = HardSwish(y)", {}, (-3.0, INF)),
        ("y = Sin(x) z = Sigmoid(y)", {}, (-8.0, 8.0)),
        ("y = Sin(x) z = Tanh(y)", {}, (-4.4, 4.4)),
        ("y = Sin(x) z = Erf(y)", {}, (-2.6, 2.6)),
        ("y = Sin(x) z = Exp(y)", {}, (-INF, INF)),
        ("y = Sin(x) z = Mul(y, y)", {}, (-INF, INF)),
        ("y = Sin(x) h = HardSigmoid<alpha=0.25, beta=0.5>(y) z = Mul(y, h)", {}, (-2.0, INF)),
        ("y = Sin(x) h = HardSigmoid<alpha=0.25, beta=0.5>(y) z = Mul(h, y)", {}, (-2.0, INF)),
        ("y = Sin(x) h = HardSigmoid(x) z = Mul(h, y)", {}, (-INF, INF)),
        ("y = Sin(x) s = Sigmoid(y) z = Mul(y, s)", {}, (-8.0, INF)),
        ("y = Sin(x) s = Sigmoid(x) z = Mul(y, s)", {}, (-INF, INF)),
        ("y = Sin(x) p = Relu(y) s = Sigmoid(y) z = Add(p, s)", {}, (-8.0, INF)),
        ("y = Sin(x) p = Relu(y) z = Add(p, y)", {}, (-INF, INF)),
    ],
)
def test_bounds_are_the_widest_of_all_readers(lines, constants, wanted):
    assert bounds_of(lines, **constants) == wanted


def test_an_output_of_the_model_is_needed_whole():
    head = "n (float[2,3] x) => (float[2,3] y, float[2,3] z)"
    assert bounds_of("y = Sin(x) z = Relu(y)", head) == (-INF, INF)


def test_a_value_that_bounds_another_op_is_needed_whole():
    head = "n (float[2,3] x, float y) => (float[2,3] z)"
    assert bounds_of("z = Clip(x, y)", head) == (-INF, INF)


@pytest.mark.parametrize("op", ["HardSwish", "Sigmoid", "Tanh", "Elu"])
def test_nothing_changes_beyond_the_bounds(op):
    low, high = bounds_of(f"y = Sin(x) z = {op}(y)")
    inside = np.clip(np.linspace(-40, 40, 999), low, high)
    reference = {
        "HardSwish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "Tanh": np.tanh,
        "Elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
    }[op]
    np.testing.assert_allclose(reference(np.linspace(-40, 40, 999)), reference(inside), atol=4e-4)
