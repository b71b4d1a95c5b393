import numpy as np
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.lift_double_layers import lift_double_layers
from edgeq.passes.lift_half import lift_half
from edgeq.passes.pipelines import OPTIMIZE, PREPARE, run_pipeline

TEXT = "g (double[N,4] x, double[4,4] w) => (double[N,4] y) { y = MatMul(x, w) }"


def test_double_layers_are_lifted():
    after, _ = apply(lift_double_layers, model(TEXT, w=numbers(4, 4).astype(np.float64)))
    assert ops(after) == ["Cast", "MatMul", "Cast"]


def test_double_arithmetic_between_float_layers_is_left_alone():
    text = """
    g (float[N,4] x, float[4,4] w, int64[1] n) => (float[N,4] y, double[1] m) {
      y = MatMul(x, w)
      m = Cast <to = 11> (n)
    }
    """
    assert apply(lift_double_layers, model(text, w=numbers(4, 4)))[1].changes == 0


def test_numbers_that_float32_cannot_hold_are_a_reason_to_stay():
    _, outcome = apply(lift_double_layers, model(TEXT, w=np.full((4, 4), 1e200)))
    assert outcome.changes == 0
    assert "beyond float32" in outcome.declined[0]


def test_only_models_that_are_quantized_lose_precision():
    kept, prepared = (model(TEXT, w=numbers(4, 4).astype(np.float64)) for _ in range(2))
    assert lift_half(kept).changes == 0
    run_pipeline(kept, OPTIMIZE)
    run_pipeline(prepared, PREPARE)
    assert ops(kept) == ["MatMul"]
    assert ops(prepared) == ["Cast", "MatMul", "Cast"]
