import numpy as np
from pass_graphs import apply, constant, listing, model, ops

from edgeq.passes.dequantize_weights import dequantize_weights
from edgeq.passes.pipelines import OPTIMIZE, PREPARE, run_pipeline

TEXT = """
g (float[2,3] x, int8[3,3] w, float s) => (float[2,3] y) {
  d = DequantizeLinear(w, s)
  t = Transpose<perm=[1,0]>(d)
  y = MatMul(x, t)
}
"""


def graph():
    return model(TEXT, w=np.arange(9, dtype=np.int8).reshape(3, 3), s=np.float32(0.5))


def test_quantized_weights_become_float_and_are_reported():
    found, outcome = apply(dequantize_weights, graph())
    assert listing(found) == "y = MatMul(x, t)"
    assert constant(found, "t").tolist() == [[0, 1.5, 3], [0.5, 2, 3.5], [1, 2.5, 4]]
    assert outcome.notes[0].startswith("1 weights were stored quantized")


def test_quantized_activations_stay():
    text = """
g (float[2,3] x, float s, uint8 z) => (float[2,3] y) {
  q = QuantizeLinear(x, s, z)
  y = DequantizeLinear(q, s, z)
}
"""
    found = model(text, s=np.float32(0.5), z=np.uint8(3))
    assert apply(dequantize_weights, found)[1].changes == 0


def test_only_models_that_are_quantized_anew_lose_the_small_form():
    kept, prepared = graph(), graph()
    run_pipeline(kept, OPTIMIZE)
    run_pipeline(prepared, PREPARE)
    assert "DequantizeLinear" in ops(kept)
    assert ops(prepared) == ["MatMul"]
