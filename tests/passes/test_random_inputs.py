"""Random inputs of sizes that a model may be meant for."""

import decoders
import graphs
import numpy as np
import onnx_ir as ir

from edgeq.graph import loader
from edgeq.passes.random_inputs import random_samples
from edgeq.runtime.session import Session


def longest(text):
    samples = random_samples(graphs.build(text))
    return max(max(array.shape) for sample in samples for array in sample.values())


def test_recordings_are_long():
    assert longest("net (float[1,n] x) => (float[1,n] y) { y = Relu(x) }") == 16000


def test_tokens_are_not_attention_over_them_would_take_gigabytes():
    assert longest("net (int64[1,n] ids) => (int64[1,n] y) { y = Abs(ids) }") == 512
    cached = """net (int64[1,n] ids, float[1,2,p,8] past) => (int64[1,n] y, float[1,2,p,8] z) {
      y = Abs(ids)
      z = Relu(past)
    }"""
    assert longest(cached) == 512


def test_sums_of_sizes_come_to_those_of_other_inputs():
    model = loader.load(decoders.by_torch()).model
    for sample in random_samples(model):
        past, new = sample["past_key_0"].shape[2], sample["input_ids"].shape[1]
        assert sample["attention_mask"].shape[1] == past + new
        np.testing.assert_array_equal(sample["position_ids"][-1], np.arange(past, past + new))


def test_a_dash_in_a_name_is_no_difference():
    model = graphs.build("net (float[b,n] x) => (float[b,n] y) { y = Relu(x) }")
    model.graph.inputs[0].shape = ir.Shape(["batch-size", "seq-len"])
    assert all(0 not in sample["x"].shape for sample in random_samples(model))


def test_a_decoder_runs_on_a_prompt_on_a_token_behind_its_cache_and_behind_padding():
    model = loader.load(decoders.decoder()).model
    session = Session(model)
    shapes = set()
    for _, sample in zip(range(3), random_samples(model), strict=False):
        assert np.isfinite(session.run(sample)["logits"]).all()
        shapes.add((sample["input_ids"].shape, sample["past_key_0"].shape[2]))
        hidden = int((sample["attention_mask"] == 0).sum())
        assert hidden == (3 if sample["input_ids"].shape == (2, 1) else 0)
    assert shapes == {((1, 8), 5), ((2, 1), 9), ((1, 16), 0)}


def test_a_mask_hides_some_tokens_of_a_row_and_never_all():
    text = "net (int64[b,n] input_ids, int64[b,n] attention_mask) => (int64[b,n] y) {"
    masks = [
        sample["attention_mask"]
        for sample in random_samples(graphs.build(text + " y = Mul(input_ids, attention_mask) }"))
    ]
    assert all(((mask == 0) | (mask == 1)).all() for mask in masks)
    assert all(mask.any(axis=-1).all() for mask in masks)
    assert any((mask == 0).any() for mask in masks)


def test_an_image_has_as_many_channels_as_its_convolution_reads():
    model = graphs.build(
        "net (float[n,c,h,w] x) => (float[n,4,h1,w1] y) { y = Conv<group = 2>(x, k) }",
        k=graphs.numbers(0, 4, 3, 3, 3),
    )
    assert {sample["x"].shape[1] for sample in random_samples(model)} == {6}


def test_recordings_have_one_axis_of_their_length():
    """Two would take gigabytes."""
    assert longest("net (float[b,n,m] x) => (float[b,n,m] y) { y = Relu(x) }") == 512
    assert longest("net (float[b,n,8] x) => (float[b,n,8] y) { y = Relu(x) }") == 16000
