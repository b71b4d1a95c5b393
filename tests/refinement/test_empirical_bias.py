"""Biases make up for the errors that the quantized model shows."""

import graphs
import numpy as np
import pytest

from edgeq.quantization.insert import insert
from edgeq.refinement.bias_correction import correct_biases, input_axes
from edgeq.refinement.channels import channel_ranges
from edgeq.refinement.empirical_bias import correct_biases_empirically
from edgeq.refinement.rounding import round_weights
from edgeq.runtime.session import Session


def deep(activation="Relu"):
    """Three layers whose inputs have means, so that errors add up."""
    text = (
        "n (float[4,6,6,6] x) => (float[4,8,6,6] z) {"
        f" [a] a = Conv(x, w, b) [r] r = {activation}(a)"
        f" [c] c = Conv(r, v, d) [s] s = {activation}(c) [e] z = Conv(s, u, f) }}"
    )
    shapes = {"w": (8, 6, 1, 1), "v": (8, 8, 1, 1), "u": (8, 8, 1, 1)}
    constants = {n: graphs.numbers(7 + i, 8, scale=0.2) for i, n in enumerate("bdf")}
    for seed, (name, shape) in enumerate(shapes.items()):
        constants[name] = graphs.numbers(seed, *shape, scale=0.05)
        constants[name][:, 0] += 2.0
    model = graphs.build(text, **constants)
    samples = [{"x": np.abs(sample["x"]) + np.float32(1)} for sample in graphs.feeds(model, 12)]
    return model, samples


def bias_free(model, candidate, samples):
    """Norm of the mean errors of the output's channels."""
    left, right = Session(model), Session(candidate)
    errors = [left.run(s)["z"].astype(np.float64) - right.run(s)["z"] for s in samples]
    return np.linalg.norm(np.concatenate(errors).mean(axis=(0, 2, 3)))


def test_what_adds_up_over_layers_is_taken_away():
    model, samples = deep()
    found = graphs.quantize(model, samples)
    made = correct_biases_empirically(model, model, found.plan, samples[::2])
    before = bias_free(model, found.model, samples[1::2])
    assert bias_free(model, insert(made, found.plan), samples[1::2]) < 0.5 * before


def test_weights_that_other_steps_moved_are_compared_with_the_given_model():
    model, samples = deep()
    found = graphs.quantize(model, samples)
    moved = round_weights(model, found.plan, samples[::2]).model
    made = correct_biases_empirically(model, moved, found.plan, samples[::2])
    weights = [node.inputs[1].const_value.numpy() for node in made.graph if node.op_type == "Conv"]
    kept = [node.inputs[1].const_value.numpy() for node in moved.graph if node.op_type == "Conv"]
    for left, right in zip(weights, kept, strict=True):
        np.testing.assert_array_equal(left, right)
    before = bias_free(model, found.model, samples[1::2])
    assert bias_free(model, insert(made, found.plan), samples[1::2]) < before


def test_outputs_that_a_relu_cuts_off_do_not_count():
    """Nine outputs in ten lie far below zero with a large error; the others have none."""
    text = "n (float[10,2,1,1] x) => (float[10,1,1,1] z) { [c] y = Conv(x, w, b) [r] z = Relu(y) }"
    weight = np.array([1.0, 0.0275], np.float32).reshape(1, 2, 1, 1)
    model = graphs.build(text, w=weight, b=np.zeros(1, np.float32))
    column = np.tile(np.linspace(0.5, 1, 4), 10)[:10].astype(np.float32)
    data = np.stack([column, np.zeros(10, np.float32)], 1).reshape(10, 2, 1, 1)
    data[1:, 0], data[1:, 1] = -4, 4
    samples = [{"x": data}] * 4
    found = graphs.quantize(model, samples)
    measured = correct_biases_empirically(model, model, found.plan, samples)
    analytic = correct_biases(model, found.plan, channel_ranges(model, input_axes(model), samples))
    shift = {
        name: abs(float(made.graph[0].inputs[2].const_value.numpy()[0]))
        for name, made in (("measured", measured), ("analytic", analytic))
    }
    assert shift["measured"] < 0.2 * shift["analytic"]


@pytest.mark.parametrize("activation", ["Relu", "HardSwish", "Sigmoid"])
def test_the_model_gets_no_further_away(activation):
    model, samples = deep(activation)
    found = graphs.quantize(model, samples)
    made = correct_biases_empirically(model, model, found.plan, samples[::2])
    before = graphs.closeness(model, found.model, samples[1::2])
    assert graphs.closeness(model, insert(made, found.plan), samples[1::2]) > before - 0.5


def test_layers_without_a_bias_stay():
    text = "n (float[1,3,4,4] x) => (float[1,3,4,4] z) { [c] y = Conv(x, w) [d] z = Conv(y, v, b) }"
    model = graphs.build(
        text,
        w=graphs.numbers(1, 3, 3, 1, 1),
        v=graphs.numbers(2, 3, 3, 1, 1),
        b=graphs.numbers(3, 3),
    )
    found = graphs.quantize(model)
    made = correct_biases_empirically(model, model, found.plan, found.samples)
    names = [[v.name for v in node.inputs] for node in made.graph]
    assert names == [["x", "w"], ["y", "v", "b_refined"]]
