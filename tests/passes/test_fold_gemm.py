import numpy as np
import pytest
from pass_graphs import apply, constant, model, numbers

from edgeq.passes.fold_gemm import fold_gemm


def gemm(attributes="", bias="float[4] b", call="x, w, b"):
    ports = f"float[2,3] x, float[3,4] w, {bias}"
    return f"g ({ports}) => (float[2,4] y) {{ y = Gemm<{attributes}>({call}) }}"


def test_alpha_goes_into_the_weight_and_beta_into_the_bias():
    weight, bias = numbers(3, 4), numbers(4, seed=1)
    found, outcome = apply(fold_gemm, model(gemm("alpha=0.5, beta=3.0"), w=weight, b=bias))
    assert outcome.changes == 1
    assert not found.graph[0].attributes
    np.testing.assert_allclose(constant(found, "w"), weight / 2)
    np.testing.assert_allclose(constant(found, "b"), bias * 3)


@pytest.mark.parametrize(
    ("ports", "shape"), [("float[1,4] b", (1, 4)), ("float[1] b", (1,)), ("float b", ())]
)
def test_a_bias_gets_one_entry_a_channel(ports, shape):
    bias = np.full(shape, 1.5, np.float32)
    found, _ = apply(fold_gemm, model(gemm("transA=0", ports), w=numbers(3, 4), b=bias))
    assert constant(found, "b").tolist() == [1.5] * 4


def test_a_transposed_weight_is_scaled_as_it_is_stored():
    ports = "float[2,3] x, float[4,3] w"
    text = f"g ({ports}) => (float[2,4] y) {{ y = Gemm<alpha=2.0, transB=1>(x, w) }}"
    found, outcome = apply(fold_gemm, model(text, w=numbers(4, 3)))
    assert outcome.changes == 1
    np.testing.assert_allclose(constant(found, "w"), 2 * numbers(4, 3))


def test_a_gemm_in_order_is_left_alone():
    _, outcome = apply(fold_gemm, model(gemm("transB=0"), w=numbers(3, 4), b=numbers(4)))
    assert outcome.changes == 0


def test_a_bias_that_differs_from_row_to_row_is_declined():
    wide = model(gemm("beta=2.0", "float[2,4] b"), w=numbers(3, 4), b=numbers(2, 4))
    _, outcome = apply(fold_gemm, wide)
    assert outcome.changes == 0
    assert "not one constant per channel" in outcome.declined[0]


def test_a_weight_that_two_layers_share_is_forked():
    text = (
        "g (float[2,3] x, float[3,4] w) => (float[2,4] y, float[2,4] z)"
        "{ y = Gemm<alpha=2.0>(x, w) z = Gemm(x, w) }"
    )
    found, outcome = apply(fold_gemm, model(text, w=numbers(3, 4)))
    assert outcome.changes == 1
    np.testing.assert_allclose(constant(found, "w"), numbers(3, 4))
