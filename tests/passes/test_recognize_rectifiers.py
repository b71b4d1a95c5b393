import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.recognize_rectifiers import recognize_rectifiers

LEAKY = [
    "m = Mul(x, a) y = Max(x, m)",
    "m = Mul(a, x) y = Max(m, x)",
    "c = Greater(x, zero) m = Mul(x, a) y = Where(c, x, m)",
    "c = Less(x, zero) m = Mul(x, a) y = Where(c, m, x)",
    "c = Less(zero, x) m = Mul(x, a) y = Where(c, x, m)",
    "c = GreaterOrEqual(zero, x) m = Mul(x, a) y = Where(c, m, x)",
    "r = Relu(x) n = Neg(x) q = Relu(n) m = Mul(q, a) y = Sub(r, m)",
    "r = Relu(x) q = Min(x, zero) m = Mul(q, a) y = Add(m, r)",
    "r = Relu(x) b = Abs(x) d = Sub(x, b) m = Mul(d, a) h = Mul(m, half) y = Add(r, h)",
    "y = PRelu(x, a)",
]
OTHER = [
    "y = Relu(x)",
    "y = LeakyRelu(x)",
    "y = Abs(x)",
    "m = Mul(x, a) y = Min(x, m)",
    "m = Add(x, a) y = Max(x, m)",
    "c = Greater(x, half) m = Mul(x, a) y = Where(c, x, m)",
    "r = Relu(x) b = Abs(x) y = Add(r, b)",
    "r = Relu(x) y = Sub(r, a)",
]
HEAD = "float zero, float half"


def graph(body, slope=0.25, dtype="float", opset=17, outputs=""):
    sizes = ",".join(map(str, np.shape(slope)))
    text = f"g ({dtype}[2,3,8] x, {dtype}{f'[{sizes}]' if sizes else ''} a, "
    text += f"{HEAD.replace('float', dtype)}) => ({dtype}[2,3,8] y{outputs}) {{ {body} }}"
    kind = np.float32 if dtype == "float" else np.float64
    parts = {"a": slope, "zero": 0, "half": 0.5}
    return model(text, opset, **{k: np.asarray(v, kind) for k, v in parts.items()})


@pytest.mark.parametrize("slope", [0.25, [0.25], np.full((3, 1), 0.25), -0.5])
@pytest.mark.parametrize("body", LEAKY)
def test_one_slope(body, slope):
    assert ops(apply(recognize_rectifiers, graph(body, slope))[0]) == ["LeakyRelu"]


@pytest.mark.parametrize("body", LEAKY)
def test_a_slope_for_each_channel(body):
    found, _ = apply(recognize_rectifiers, graph(body, numbers(3, 1) / 2))
    assert ops(found) == (["PRelu"] if body.startswith("y = PRelu") else ["Mul", "Max"])


@pytest.mark.parametrize("body", LEAKY[6:])
def test_slopes_above_one_stay(body):
    assert apply(recognize_rectifiers, graph(body, [[0.5], [0.5], [2.0]]))[1].changes == 0


@pytest.mark.parametrize("body", LEAKY)
def test_no_slope_is_relu(body):
    assert ops(apply(recognize_rectifiers, graph(body, 0.0))[0]) == ["Relu"]


def test_absolute_values():
    found, _ = apply(recognize_rectifiers, graph("n = Neg(x) y = Max(n, x)"))
    assert ops(found) == ["Abs"]


@pytest.mark.parametrize("body", OTHER)
def test_others_stay(body):
    assert apply(recognize_rectifiers, graph(body))[1].changes == 0


def test_what_others_read_doubles_and_old_opsets_stay():
    before = graph(LEAKY[0], outputs=", float[2,3,8] m")
    assert apply(recognize_rectifiers, before)[1].changes == 0
    assert apply(recognize_rectifiers, graph(LEAKY[0], dtype="double"))[1].changes == 0
    assert apply(recognize_rectifiers, graph("y = PRelu(x, a)", opset=7))[1].changes == 0


def test_a_slope_that_widens_stays():
    before = graph(LEAKY[0].replace("y =", "z =") + " y = Squeeze(z)", np.full((1, 1, 1, 1), 0.5))
    assert recognize_rectifiers(before).changes == 0


def test_in_a_body_on_a_value_from_outside():
    body = LEAKY[0].replace("y =", "q =")
    text = f"""
    g (float[2,3,8] x, bool left, float a) => (float[2,3,8] y) {{
      y = If (left) <
        then_branch = one () => (float[2,3,8] q) {{ {body} }},
        else_branch = two () => (float[2,3,8] r) {{ r = Neg(x) }}
      >
    }}
    """
    samples = [{"x": numbers(2, 3, 8) - 1, "left": np.array(flag)} for flag in (True, False)]
    before = model(text, a=np.float32(0.1))
    assert ops(apply(recognize_rectifiers, before, samples)[0]) == ["If", "LeakyRelu", "Neg"]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["Relu", "Abs", "Neg", "Max", "Min", "Add", "Sub"]),
                          st.integers(0, 9), st.integers(0, 9)),
                min_size=2, max_size=6))  # fmt: skip
def test_random_functions(steps):
    values, lines = ["x", "zero", "m"], ["m = Mul(x, a)"]
    for number, (op, left, right) in enumerate(steps):
        one, two = values[left % len(values)], values[right % len(values)]
        lines.append(
            f"v{number} = {op}({one if op in ('Relu', 'Abs', 'Neg') else f'{one}, {two}'})"
        )
        values.append(f"v{number}")
    apply(recognize_rectifiers, graph(" ".join(lines) + f" y = Add({values[-1]}, x)"))
