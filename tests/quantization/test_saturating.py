"""HardSigmoid as an addition: the same numbers, by integer kernels."""

import graphs
import numpy as np
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import ModelError
from edgeq.quantization.saturating import spell_as_addition
from edgeq.quantization.stored import IntegerConstants
from edgeq.recipe import Recipe

GATED = Recipe(include=("HardSigmoid", "Mul"))


def swish(attributes="<alpha=0.16666667, beta=0.5>"):
    return graphs.build(
        f"""n (float[1,4,8,8] x) => (float[1,4,8,8] z) {{
          [first] a = Conv(x, w)
          [gate] g = HardSigmoid{attributes}(a)
          [gated] b = Mul(a, g)
          [last] z = Conv(b, w)
        }}""",
        w=graphs.numbers(0, 4, 4, 1, 1),
    )


def test_hard_swish_between_convolutions_runs_in_integers_from_end_to_end():
    found = graphs.quantize(swish(), recipe=GATED)
    operators, left_over = found.executed()
    assert {"QLinearAdd", "QLinearMul"} <= set(operators)
    assert not {"HardSigmoid", "Mul", "Add"} & set(operators)
    assert left_over == 2  # at the input and at the output of the model
    assert found.sqnr(OPTIMIZED) > 30


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    alpha=st.floats(0.05, 2.0), beta=st.floats(-1.0, 1.5), scale=st.sampled_from([0.1, 1.0, 30.0])
)
def test_every_slope_and_shift_gives_the_gate_that_float_gives_within_a_step(alpha, beta, scale):
    model = graphs.build(
        f"""n (float[1,1,4,64] x) => (float[1,1,4,64] z) {{
          [first] a = Conv(x, w)
          [gate] g = HardSigmoid<alpha={alpha:.6f}, beta={beta:.6f}>(a)
          [last] z = Conv(g, w)
        }}""",
        w=np.ones((1, 1, 1, 1), np.float32),
    )
    samples = [{"x": sample["x"] * np.float32(scale)} for sample in graphs.feeds(model, 2)]
    found = graphs.quantize(model, samples, Recipe(include=("gate",)))
    steps = {e.value.name: float(e.params.scale) for e in found.plan.activations}
    slack = alpha * (steps["x"] + steps["a"]) + 3 / 255
    for config in (OPTIMIZED, UNOPTIMIZED):
        for sample in samples:
            want = np.clip(alpha * sample["x"] + beta, 0.0, 1.0)
            got = graphs.Session(found.model, config).run(sample)["z"]
            assert np.abs(want - got).max() <= slack


def test_a_gate_that_falls_stays_float():
    found = graphs.quantize(swish("<alpha=-0.2>"), recipe=GATED)
    assert "does not rise" in found.reason("gate")


def test_a_gate_without_pairs_around_it_is_refused():
    model = swish()
    gate = next(node for node in model.graph if node.op_type == "HardSigmoid")
    with pytest.raises(ModelError, match="no reader but one"):
        spell_as_addition(gate, IntegerConstants(model))
