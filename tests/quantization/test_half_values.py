"""What a model computes on samples decides what float16 holds, beside its constants."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.errors import UnsupportedError
from edgeq.quantization.half_values import too_large_for_half
from edgeq.quantization.plan import NodeForm

NET = (
    "n (float[4,64] x, float[4,64] mask) => (float[4,64] y) {"
    " [m] h = MatMul(x, w) [s] big = Mul(h, h) [d] small = Div(big, far)"
    " [a] masked = Add(small, mask) [r] y = Relu(masked) }"
)
WEIGHTS = {"w": graphs.numbers(0, 64, 64), "far": np.array(3e4, np.float32)}


def samples(hidden):
    """Inputs that make numbers beyond float16 inside; ``hidden`` is in the mask."""
    mask = np.zeros((4, 64), np.float32)
    mask[:, 7] = hidden
    return [{"x": graphs.numbers(i, 4, 64, scale=15.0), "mask": mask} for i in range(3)]


def test_nodes_around_what_passes_float16_stay_float32():
    model = graphs.build(NET, **WEIGHTS)
    told = too_large_for_half(model, samples(-np.inf))
    reasons = {node.name: told(node) for node in model.graph}
    assert {name for name, why in reasons.items() if why} == {"s", "d"}
    assert "'big' reaches" in reasons["s"]
    assert "65504" in reasons["s"]


def test_what_may_pass_it_on_other_inputs_stays_float32_too():
    model = graphs.build("n (float[2,2] x) => (float[2,2] y) { [r] y = Relu(x) }")
    for most, fits in ((32_000.0, True), (33_000.0, False)):
        told = too_large_for_half(model, [{"x": np.full((2, 2), most, np.float32)}])
        assert (told(model.graph[0]) == "") is fits


def test_a_model_that_would_overflow_in_float16_is_close():
    model = graphs.build(NET, **WEIGHTS)
    result = edgeq.quantize(model, samples(-1e4), scheme="fp16")
    found = {d.node: d.form for d in result.plan.decisions}
    assert found["m"] is NodeForm.HALF
    assert found["s"] is NodeForm.FLOAT
    assert result.report.outputs["y"].finite
    assert result.report.outputs["y"].sqnr_db > 50


def test_large_values_of_old_models_are_looked_at_as_well():
    """What observes them stands on operators that opset 9 does not have."""
    text = "n (float[1,4,200,200] x) => (float[1,4,200,200] y) { h = Conv(x, k) y = Relu(h) }"
    model = graphs.proto(text, 9, k=np.full((4, 4, 1, 1), 2e4, np.float32))
    sample = {"x": graphs.numbers(0, 1, 4, 200, 200)}
    with pytest.raises(UnsupportedError, match="'h' reaches"):
        edgeq.quantize(model, [sample], scheme="fp16", validate=False)


def test_what_a_mask_hides_from_a_softmax_may_become_infinite():
    text = (
        "n (float[2,8] x, float[2,8] mask) => (float[2,8] y) {"
        " [a] s = Add(x, mask) [f] r = Reshape(s, shape) [p] y = Softmax(r) }"
    )
    model = graphs.build(text, shape=np.array([2, 8]))
    mask = np.zeros((2, 8), np.float32)
    mask[:, 3] = np.finfo(np.float32).min
    told = too_large_for_half(model, [{"x": graphs.numbers(0, 2, 8), "mask": mask}])
    assert not any(told(node) for node in model.graph)
    result = edgeq.quantize(
        model, [{"x": graphs.numbers(i, 2, 8), "mask": mask} for i in range(2)], scheme="fp16"
    )
    assert {d.form for d in result.plan.decisions} == {NodeForm.HALF}
    assert result.report.outputs["y"].sqnr_db > 50
    told = too_large_for_half(model, [{"x": graphs.numbers(0, 2, 8), "mask": -mask}])
    assert all(told(node) for node in list(model.graph)[:3])


def test_what_is_only_moved_is_as_large_as_what_it_was_made_of():
    text = "n (float[2,8] x) => (float[8,2] y) { [d] h = Mul(x, x) [t] y = Transpose(h) }"
    model = graphs.build(text)
    told = too_large_for_half(model, [{"x": np.full((2, 8), 300, np.float32)}])
    reasons = [told(node) for node in model.graph]
    assert reasons[0].startswith("'h' reaches 9e+04")
    assert reasons[1].startswith("'h' reaches 9e+04")
