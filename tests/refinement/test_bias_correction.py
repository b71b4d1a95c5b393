"""Bias correction takes the mean error of every channel away."""

import graphs
import numpy as np
import pytest

from edgeq.quantization.insert import insert
from edgeq.recipe import Recipe
from edgeq.refinement.bias_correction import correct_biases, input_axes
from edgeq.refinement.channels import channel_ranges
from edgeq.runtime.session import Session
from edgeq.types import EdgeRef

STEM = "[stem] y = Conv(x, w0)"
LAYERS = {
    "conv": ("n (float[4,6,6,6] x) => (float[4,8,6,6] z) { [c] z = Conv(x, w, b) }", (8, 6, 1, 1)),
    "grouped": (
        "n (float[4,6,6,6] x) => (float[4,8,6,6] z) { [c] z = Conv<group=2>(x, w, b) }",
        (8, 3, 1, 1),
    ),
    "depthwise": (
        "n (float[4,8,6,6] x) => (float[4,8,4,4] z) { [c] z = Conv<group=8>(x, w, b) }",
        (8, 1, 3, 3),
    ),
    "gemm": (
        "n (float[4,6,1,1] x) => (float[4,8] z)"
        "{ [stem] y = Conv(x, w0) [f] f = Flatten(y) [c] z = Gemm(f, w, b) }",
        (6, 8),
    ),
    "gemm transB": (
        "n (float[4,6,1,1] x) => (float[4,8] z)"
        "{ [stem] y = Conv(x, w0) [f] f = Flatten(y) [c] z = Gemm<transB=1>(f, w, b) }",
        (8, 6),
    ),
}


def coarse(name):
    """A layer with one outlier a channel, so that its other weights are rounded hard."""
    text, shape = LAYERS[name]
    weight = graphs.numbers(1, *shape, scale=0.03)
    constants = {"w": weight, "b": graphs.numbers(2, 8)}
    if "w0" in text:
        constants["w0"] = np.eye(6, dtype=np.float32).reshape(6, 6, 1, 1)
    lead = (slice(None), 0) if name == "gemm transB" or "conv" in name else (0,)
    weight[lead if weight.ndim == 2 else (slice(None), 0)] += 4.0
    model = graphs.build(text, **constants)
    samples = [{"x": sample["x"] + np.float32(2)} for sample in graphs.feeds(model, 8)]
    return model, samples


def mean_errors(model, candidate, samples):
    """Mean error of every output channel, float64 [channels]."""
    left, right = Session(model), Session(candidate)
    errors = [left.run(s)["z"].astype(np.float64) - right.run(s)["z"] for s in samples]
    stacked = np.concatenate(errors)
    return stacked.mean(axis=tuple(i for i in range(stacked.ndim) if i != 1))


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_error_of_the_channels_shrinks(name):
    model, samples = coarse(name)
    found = graphs.quantize(model, samples, target=graphs.UNPADDED)
    assert "c" in found.static()
    means = channel_ranges(model, input_axes(model), samples)
    corrected = insert(correct_biases(model, found.plan, means), found.plan)
    before = np.abs(mean_errors(model, found.model, samples))
    after = np.abs(mean_errors(model, corrected, samples))
    step = float(
        np.max([e.params.scale for e in found.plan.activations if e.value.name == "z"] or 0)
    )
    assert np.linalg.norm(after) < 0.5 * np.linalg.norm(before) + step / 4


def test_exactly_the_error_of_the_rounded_weights_is_made_up_for():
    model, samples = coarse("conv")
    found = graphs.quantize(model, samples, target=graphs.UNPADDED)
    means = channel_ranges(model, input_axes(model), samples)
    rounded = dict(found.model.graph.initializers)["w_quantized"].const_value.numpy()
    scale = next(e.params.scale for e in found.plan.weights if e.edge == EdgeRef("c", 1))
    weight = model.graph.initializers["w"].const_value.numpy()
    error = (weight - rounded * scale.reshape(-1, 1, 1, 1)).sum(axis=(2, 3)) @ means["x"].mean
    corrected = correct_biases(model, found.plan, means)
    bias = corrected.graph.initializers["b_corrected"].const_value.numpy()
    np.testing.assert_allclose(bias, graphs.numbers(2, 8) + error, rtol=1e-5, atol=1e-6)


def test_means_are_taken_over_samples_and_positions():
    model, samples = coarse("conv")
    means = channel_ranges(model, input_axes(model), samples)
    stacked = np.concatenate([sample["x"] for sample in samples]).astype(np.float64)
    np.testing.assert_allclose(means["x"].mean, stacked.mean(axis=(0, 2, 3)))


def test_a_bias_that_two_layers_share_is_corrected_for_each():
    text = (
        "n (float[1,3,4,4] x) => (float[1,3,4,4] z) { [c] y = Conv(x, w, b) [d] z = Conv(y, v, b) }"
    )
    constants = {"w": graphs.numbers(1, 3, 3, 1, 1), "v": graphs.numbers(2, 3, 3, 1, 1)}
    model = graphs.build(text, b=graphs.numbers(3, 3), **constants)
    found = graphs.quantize(model, target=graphs.UNPADDED)
    made = correct_biases(
        model, found.plan, channel_ranges(model, input_axes(model), found.samples)
    )
    names = {node.inputs[2].name for node in made.graph}
    assert names == {"b_corrected", "b_corrected_1"}
    assert {node.inputs[2].name for node in model.graph} == {"b"}


def test_layers_without_a_bias_or_in_float_are_left_alone():
    text = "n (float[1,3,4,4] x) => (float[1,3,4,4] z) { [c] y = Conv(x, w) [d] z = Conv(y, w, b) }"
    model = graphs.build(text, w=graphs.numbers(1, 3, 3, 1, 1), b=graphs.numbers(3, 3))
    found = graphs.quantize(model, recipe=Recipe(exclude=("d",)), target=graphs.UNPADDED)
    made = correct_biases(
        model, found.plan, channel_ranges(model, input_axes(model), found.samples)
    )
    assert [[v.name for v in node.inputs] for node in made.graph] == [["x", "w"], ["y", "w", "b"]]


def test_a_gemm_that_turns_its_input_is_left_alone():
    """Its channels lie where those of other layers are rows."""
    text = (
        "n (float[1,5,6,1] x) => (float[6,4] z) { [stem] y = Conv(x, w0)"
        " [r] f = Reshape(y, s) [c] z = Gemm<transA=1>(f, w, b) }"
    )
    model = graphs.build(
        text, w0=graphs.numbers(0, 5, 5, 1, 1), s=np.array([5, 6]), w=graphs.numbers(1, 5, 4),
        b=graphs.numbers(2, 4),
    )  # fmt: skip
    found = graphs.quantize(model, target=graphs.UNPADDED)
    assert "c" in found.static()
    means = channel_ranges(model, input_axes(model), found.samples)
    assert "f" not in means
    assert correct_biases(model, found.plan, means).graph[-1].inputs[2].name == "b"
