import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.recognize_batch_norm import recognize_batch_norm

TEXT = """
g (float[N,4,5,H] x, float{s} s, float{t} t) => (float[N,4,5,H] y) {{
  p = Mul(s, x)
  y = {op}
}}
"""
FORMS = [(1, 4, 1, 1), (4, 1, 1), (), (1,), (1, 1, 1)]


def spelled(s, t, op="Add(p, t)"):
    text = TEXT.format(s=list(s), t=list(t), op=op)
    return model(text, s=numbers(*s) - 1, t=numbers(*t, seed=1))


@given(st.sampled_from(FORMS), st.sampled_from(FORMS))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_scale_and_shift_per_channel(s, t):
    found, _ = apply(recognize_batch_norm, spelled(s, t))
    assert ops(found) == ["BatchNormalization"]


@pytest.mark.parametrize("op", ["Sub(p, t)", "Sub(t, p)"])
def test_subtraction(op):
    found, _ = apply(recognize_batch_norm, spelled((4, 1, 1), (4, 1, 1), op))
    assert ops(found) == ["BatchNormalization"]


@pytest.mark.parametrize(
    ("s", "t"), [((5, 1), (4, 1, 1)), ((4, 1, 1), (5, 1)), ((2, 1, 4, 1, 1), ())]
)
def test_other_axes_stay(s, t):
    text = TEXT.format(s=list(s), t=list(t), op="Add(p, t)")
    text = text.replace("float[N,4,5,H] y", "float[" + ",".join("?" * max(4, len(s))) + "] y")
    _, outcome = apply(recognize_batch_norm, model(text, s=numbers(*s), t=numbers(*t)))
    assert outcome.changes == 0


def test_another_reader_and_other_types_stay():
    text = """
g (float[N,4,5] x, float[4,1] s, float[4,1] t) => (float[N,4,5] y, float[N,4,5] p) {
  p = Mul(x, s)
  y = Add(p, t)
}
"""
    data = {"s": numbers(4, 1), "t": numbers(4, 1)}
    assert apply(recognize_batch_norm, model(text, **data))[1].changes == 0
    text = text.replace(", float[N,4,5] p)", ")").replace("float", "double")
    data = {name: array.astype(np.float64) for name, array in data.items()}
    assert apply(recognize_batch_norm, model(text, **data))[1].changes == 0
    assert apply(recognize_batch_norm, spelled((4, 1, 1), (4, 1, 1)))[1].changes == 1


def test_unknown_channels_stay():
    text = """
g (float[N,C,5] x, float s, float t) => (float[N,C,5] y) {
  p = Mul(x, s)
  y = Add(p, t)
}
"""
    data = {"s": np.float32(2), "t": np.float32(3)}
    assert apply(recognize_batch_norm, model(text, **data))[1].changes == 0


@pytest.mark.parametrize(("shape", "changes"), [((), 0), ((1,), 0), ((4, 1, 1), 1)])
def test_a_ramp_of_one_slope_stays(shape, changes):
    text = TEXT.format(s=list(shape), t=list(shape), op="Clip(q, low, high)")
    text = text.replace("p = Mul(s, x)", "p = Mul(s, x) q = Add(p, t)")
    text = text.replace(" t)", " t, float low, float high)", 1)
    data = {"s": numbers(*shape), "t": numbers(*shape, seed=1)}
    found = model(text, **data, low=np.float32(0), high=np.float32(1))
    assert apply(recognize_batch_norm, found)[1].changes == changes
