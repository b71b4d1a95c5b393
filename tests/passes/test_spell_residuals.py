import numpy as np
import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.spell_residuals import spell_residuals
from edgeq.runtime.kernels import fused_model

HEAD = "g (float[2,3,8] a, float[2,3,8] b, float[8] g) =>"
NORM = "LayerNormalization<axis=-1>(t, g)"
WEIGHTS = np.linspace(0.5, 2, 8, dtype=np.float32)


def residual(text):
    return model(f"{HEAD} {text}", g=WEIGHTS)


def test_a_normalized_sum_is_not_fused_to_the_slow_operator():
    """The same numbers, and onnxruntime leaves the normalization alone."""
    given = residual(f"(float[2,3,8] y) {{ t = Add(a, b) y = {NORM} }}")
    assert ops(fused_model(given)) == ["SkipLayerNormalization"]
    found, _ = apply(spell_residuals, given)
    assert ops(fused_model(found)) == ["Sum", "LayerNormalization"]


def test_a_sum_that_also_goes_on_is_spelled_too():
    text = f"(float[2,3,8] y, float[2,3,8] z) {{ t = Add(a, b) y = {NORM} z = Relu(t) }}"
    assert ops(apply(spell_residuals, residual(text))[0]) == ["Sum", "LayerNormalization", "Relu"]


@pytest.mark.parametrize("text", ["t = Add(a, b) y = Mul(t, g)", f"t = Sub(a, b) y = {NORM}"])
def test_other_sums_stay(text):
    found = residual(f"(float[2,3,8] y) {{ {text} }}")
    assert apply(spell_residuals, found)[1].changes == 0


def test_a_sum_that_is_quantized_stays_what_integer_kernels_are_made_of():
    body = f"t = Add(a, b) y = {NORM} q = QuantizeLinear(t, s, z)"
    text = f"g (float[2,3,8] a, float[2,3,8] b, float[8] g, float s, uint8 z) => \
        (float[2,3,8] y, uint8[2,3,8] q) {{ {body} }}"
    found = model(text, g=WEIGHTS, s=np.float32(0.1), z=np.uint8(128))
    assert apply(spell_residuals, found)[1].changes == 0
