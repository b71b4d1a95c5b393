import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.explicit_pads import explicit_pads
from edgeq.passes.outcome import Outcome

CONV = """
g (float[N,3,{h},{w}] x, float[4,3,{a},{b}] k) => (float[N,4,?,?] y) {{
  y = Conv<auto_pad="{mode}", strides=[{s},{t}], dilations=[{d},1]>(x, k)
}}
"""


@given(
    st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), st.integers(7, 11),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=50, deadline=None, derandomize=True)
def test_convolutions(mode, h, s, t, a, d):
    d = d if mode == "VALID" and a < 4 else 1
    text = CONV.format(h=h, w=9, a=a, b=3, mode=mode, s=s, t=t, d=d)
    found, outcome = apply(explicit_pads, model(text, k=numbers(4, 3, a, 3)))
    assert outcome.changes == 1
    assert "auto_pad" not in found.graph[0].attributes


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_pools(op, mode, stride):
    text = f"""
g (float[N,3,7,8] x) => (float[N,3,?,?] y) {{
  y = {op}<auto_pad="{mode}", kernel_shape=[3,2], strides=[{stride},{stride}]>(x)
}}
"""
    _, outcome = apply(explicit_pads, model(text))
    assert outcome.changes == 1


def test_unknown_sizes_matter_with_strides_only():
    text = CONV.format(h="H", w="W", a=3, b=3, mode="SAME_UPPER", s=1, t=1, d=1)
    assert apply(explicit_pads, model(text, k=numbers(4, 3, 3, 3)))[1].changes == 1
    text = CONV.format(h="H", w="W", a=3, b=3, mode="SAME_UPPER", s=2, t=1, d=1)
    outcome = apply(explicit_pads, model(text, k=numbers(4, 3, 3, 3)))[1]
    assert outcome == Outcome(0, ("Conv conv_0: its padding depends on the size of its input",))


def test_dilations_are_left_alone():
    text = CONV.format(h=9, w=9, a=3, b=3, mode="SAME_UPPER", s=1, t=1, d=2)
    outcome = apply(explicit_pads, model(text, k=numbers(4, 3, 3, 3)), runs=False)[1]
    assert "dilations" in outcome.declined[0]


def test_a_kernel_that_is_an_input():
    text = """
g (float[N,3,8,8] x, float[4,3,A,B] k) => (float[N,4,?,?] y) {
  y = Conv<auto_pad="SAME_UPPER">(x, k)
}
"""
    samples = [{"x": numbers(1, 3, 8, 8), "k": numbers(4, 3, 3, 2)}]
    found, outcome = apply(explicit_pads, model(text), samples)
    assert outcome.changes == 0
    assert ops(found) == ["Conv"]
    assert np.all(["kernel" in why for why in outcome.declined])
