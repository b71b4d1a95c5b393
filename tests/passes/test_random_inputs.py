"""Random inputs of sizes that a model may be meant for."""

import graphs

from edgeq.passes.random_inputs import random_samples


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
